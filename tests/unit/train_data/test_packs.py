"""Packing: the rules of TRL's `pack_dataset` and of its padding-free collator, checked piece by piece."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.train_data.specimens import chat, make_tokenizer, write_rows

from hotfire.rules.evidence import PrepareRequest
from hotfire_workers.train.collate import make_collator
from hotfire_workers.train.data.encode import IGNORED
from hotfire_workers.train.data.packs import Pack, Packing, Piece, pack, packing_of
from hotfire_workers.train.rows import PreparedSample, TokenFacts, prepare_sample

STRATEGIES = ("bfd", "bfd_split", "wrapped")


def packing(strategy: str, length: int) -> Packing:
    return Packing(strategy=strategy, length=length, keeps_apart=strategy != "wrapped")


def pieces(lengths: list[int], *, cut: int | None = None) -> list[Piece]:
    """Rows whose ids tell where they come from: 1000 * row + place."""
    return [
        Piece(
            row=row,
            input_ids=[1000 * row + i for i in range(size)][:cut],
            labels=[-(1000 * row + i) for i in range(size)][:cut],
        )
        for row, size in enumerate(lengths, start=1)
    ]


def packed(lengths: list[int], how: Packing) -> tuple[list[Pack], dict[int, set[int]]]:
    return pack(pieces(lengths, cut=how.length if how.truncates else None), how)


def test_the_example_of_trl() -> None:
    lengths = [5, 2, 3, 1]
    found, _ = packed(lengths, packing("bfd", 4))
    assert [(p.rows, p.lengths) for p in found] == [([1], [4]), ([2], [2]), ([3, 4], [3, 1])]
    found, _ = packed(lengths, packing("bfd_split", 4))
    assert sorted((p.rows, p.lengths) for p in found) == [([1], [4]), ([2, 4], [2, 1]), ([3, 1], [3, 1])]
    found, _ = packed(lengths, packing("wrapped", 4))
    assert [(p.rows, p.lengths) for p in found] == [([1], [4]), ([1, 2, 3], [1, 2, 1]), ([3, 4], [2, 1])]


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=60),
    length=st.integers(1, 32),
    strategy=st.sampled_from(STRATEGIES),
)
def test_no_token_is_lost_and_no_pack_is_too_long(lengths: list[int], length: int, strategy: str) -> None:
    how = packing(strategy, length)
    found, heads = packed(lengths, how)
    assert all(len(p.input_ids) == sum(p.lengths) <= length for p in found)
    assert all([-i for i in p.input_ids] == p.labels for p in found)
    kept = [i for p in pieces(lengths, cut=length if how.truncates else None) for i in p.input_ids]
    assert sorted(i for p in found for i in p.input_ids) == kept
    if how.truncates:
        assert all(len(set(p.rows)) == len(p.rows) for p in found)  # rows stay whole
    # `heads` is what the collator takes the labels of, and the first token of what nothing is packed before.
    firsts = {p.input_ids[0] for p in found}
    if how.keeps_apart:
        firsts |= {p.input_ids[at] for p in found for at in _starts(p.lengths)}
    assert {1000 * row + place for row, places in heads.items() for place in places} == firsts


def _starts(lengths: list[int]) -> list[int]:
    return [sum(lengths[:n]) for n in range(len(lengths))]


def test_rows_of_different_thousands_are_not_packed_together() -> None:
    found, _ = packed([1] * 1500, packing("wrapped", 900))
    assert [len(p.input_ids) for p in found] == [900, 100, 500]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=60),
    length=st.integers(2, 24),
    strategy=st.sampled_from(STRATEGIES),
)
def test_the_packs_are_those_of_trl(lengths: list[int], length: int, strategy: str) -> None:
    data_utils = pytest.importorskip("trl.data_utils", reason="compares with TRL, which Hotfire does without")
    pa = pytest.importorskip("pyarrow")
    rows = pieces(lengths)
    table = pa.table({"input_ids": [p.input_ids for p in rows], "labels": [p.labels for p in rows]})
    if strategy == "wrapped":
        theirs = data_utils._pack_wrapped(table, length)
    else:
        overflow = "split" if strategy == "bfd_split" else "truncate"
        theirs = data_utils._pack_bfd(table, length, overflow)
    ours, _ = packed(lengths, packing(strategy, length))
    assert sorted(p.input_ids for p in ours) == sorted(theirs["input_ids"].to_pylist())
    if strategy != "wrapped":
        assert sorted(p.lengths for p in ours) == sorted(theirs["seq_lengths"].to_pylist())


def test_the_collator_is_that_of_trl_without_padding() -> None:
    how = packing("bfd", 8)
    found, _ = packed([3, 5, 2], how)
    batch = make_collator({}, {"pad_token_id": 0})([p.line(how) for p in found])
    assert set(batch) == {"input_ids", "labels", "position_ids"}  # a mask would hide the borders
    assert batch["input_ids"].tolist() == [[2000, 2001, 2002, 2003, 2004, 1000, 1001, 1002, 3000, 3001]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 0, 1]]
    assert batch["labels"].tolist() == [
        [IGNORED, -2001, -2002, -2003, -2004, IGNORED, -1001, -1002, IGNORED, -3001]
    ]


def test_the_collator_against_trl() -> None:
    trainer = pytest.importorskip(
        "trl.trainer.sft_trainer", reason="compares with TRL, which Hotfire does without"
    )
    how = packing("bfd", 8)
    lines = [p.line(how) for p in packed([3, 5, 2, 7, 1], how)[0]]
    ours = make_collator({}, {"pad_token_id": 0})(lines)
    theirs = trainer.DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(lines)
    assert all(ours[name].equal(theirs[name]) for name in ours)


def test_wrapped_packs_are_padded_and_masked() -> None:
    how = packing("wrapped", 4)
    found, _ = packed([3, 3], how)
    batch = make_collator({}, {"pad_token_id": 7})([p.line(how) for p in found])
    assert batch["input_ids"].tolist() == [[1000, 1001, 1002, 2000], [2001, 2002, 7, 7]]
    assert batch["labels"].tolist() == [[-1000, -1001, -1002, -2000], [-2001, -2002, IGNORED, IGNORED]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


@pytest.mark.parametrize(
    ("training", "format_name", "says"),
    [
        ({"packing": True}, "MESSAGES", "needs training.max_length"),
        ({"packing": True, "max_length": 64}, "PREFERENCE", "preference pairs are not packed"),
        ({"packing": True, "max_length": 64, "packing_strategy": "best"}, "TEXT", "none that TRL has"),
    ],
)
def test_what_is_not_packed_says_why(training: dict[str, Any], format_name: str, says: str) -> None:
    how, why = packing_of(training, format_name)
    assert how is None
    assert says in str(why)


def test_packing_is_off_unless_it_is_asked_for() -> None:
    assert packing_of({"max_length": 64}, "TEXT") == (None, None)
    asked = {"packing": True, "max_length": 64}
    assert packing_of(asked, "TEXT")[0] == packing("bfd", 64)
    assert packing_of({**asked, "packing_strategy": "bfd-requeue"}, "TEXT")[0] == packing("bfd_split", 64)
    apart = packing_of({**asked, "neat_packing": False}, "TEXT")[0]
    assert apart is not None
    assert not apart.keeps_apart


# ---- through the preparation ----


def prepare(tmp_path: Path, rows: list[Any], training: dict[str, Any], **request: Any) -> PreparedSample:
    path = write_rows(tmp_path / "rows.jsonl", rows)
    tokens = TokenFacts(tokenizer=make_tokenizer(), stop_ids=[0], end_ids=frozenset([0]))
    return prepare_sample(
        PrepareRequest(out_dir="", model={}, data={"path": str(path)}, training=training, **request), tokens
    )


CHATS = [chat(f"What is the capital number {i}?", "A town. " * (1 + i % 5)) for i in range(30)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_trials_take_are_packs_of_all_rows(tmp_path: Path, strategy: str) -> None:
    training = {
        "packing": True, "max_length": 96, "packing_strategy": strategy, "assistant_only_loss": True,
    }  # fmt: skip
    sample = prepare(tmp_path, CHATS, training, num_trial_rows=2)
    assert all(len(line["input_ids"]) <= 96 for line in sample.batch_rows)
    assert {row for line in sample.batch_rows for row in line["rows"]} == set(range(1, 31))
    assert all(("seq_lengths" in line) is (strategy != "wrapped") for line in sample.batch_rows)
    plain = prepare(tmp_path, CHATS, {"assistant_only_loss": True})
    supervised = sum(label != IGNORED for line in plain.batch_rows for label in line["labels"])
    assert sum(label != IGNORED for line in sample.batch_rows for label in line["labels"]) == supervised
    (note,) = [n for n in sample.evidence.notes if n.startswith("packing as TRL does it")]
    assert f"become {len(sample.batch_rows)} packs of at most 96 tokens" in note
    first = {row for line in sample.batch_rows[:2] for row in line["rows"]}
    assert any(f"the first {len(first)} rows that trials take" in n for n in sample.evidence.notes)
    assert first <= {view.row for view in sample.views}


def test_views_say_what_the_loss_looks_at(tmp_path: Path) -> None:
    rows = [{"text": "the sea is wide"}, {"text": "and blue and deep"}]
    alone = prepare(tmp_path, rows, {"max_length": 64})
    assert [view.tokens[0].trained for view in alone.views] == [False, False]
    apart = prepare(tmp_path, rows, {"max_length": 64, "packing": True})
    assert [view.tokens[0].trained for view in apart.views] == [False, False]
    joined = prepare(tmp_path, rows, {"max_length": 64, "packing": True, "packing_strategy": "wrapped"})
    assert [view.tokens[0].trained for view in joined.views] == [False, True]  # predicted from row 1


def test_a_row_that_was_cut_says_so(tmp_path: Path) -> None:
    long = chat("hello", "the sea is wide and blue and deep " * 20)
    sample = prepare(tmp_path, [*CHATS, long], {"packing": True, "max_length": 40})
    (view,) = [view for view in sample.views if view.row == 31]
    assert len(view.tokens) == 40
    assert "cut from " in view.why
    assert " to 40 tokens" in view.why
    assert "begins at token" not in view.why  # a part of the answer is still there
    asked = chat("hello " * 60, "yes")
    lost = prepare(tmp_path, [*CHATS, asked], {"max_length": 40, "assistant_only_loss": True})
    (view,) = [view for view in lost.views if view.row == 31]
    begins = next(r.first_supervised for r in lost.evidence.rows if r.row == 31)
    assert view.why.endswith(f"(what is to be trained begins at token {begins + 1})")
    split = prepare(
        tmp_path, [*CHATS, long], {"packing": True, "max_length": 40, "packing_strategy": "bfd_split"}
    )
    (whole,) = [view for view in split.views if view.row == 31]
    assert len(whole.tokens) > 40
    assert json.dumps(split.batch_rows)

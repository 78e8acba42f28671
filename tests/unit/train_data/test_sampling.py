"""Which rows run and are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.train_data.specimens import STRICT, chat, make_tokenizer, write_rows

from hotfire.rules.evidence import PrepareRequest
from hotfire_workers.train.data import sampling
from hotfire_workers.train.data.result import PreparedSample
from hotfire_workers.train.data.shape import scripts_of
from hotfire_workers.train.rows import TokenFacts, prepare_sample


def prepare(tmp_path: Path, rows: list[Any], training: Any = None, **request: Any) -> PreparedSample:
    path = write_rows(tmp_path / "rows.jsonl", rows)
    tokens = TokenFacts(tokenizer=make_tokenizer(), stop_ids=[0], end_ids=frozenset([0]))
    wanted = PrepareRequest(
        out_dir="",
        model={},
        data={"path": str(path)},
        training={"assistant_only_loss": True} if training is None else training,
        **request,
    )
    return prepare_sample(wanted, tokens)


PLAIN = [chat(f"question number {i}", f"answer number {i}") for i in range(60)]


def _why(sample: PreparedSample) -> dict[int, str]:
    return {entry["row"]: entry["why"] for entry in sample.evidence.extra["sampling"]}


def test_odd_rows_behind_the_first_ones_run_first(tmp_path: Path) -> None:
    rows = list(PLAIN)
    rows[20] = chat("word " * 60, "long")
    rows[30] = chat("hi", "")
    rows[41] = chat("\u0447\u0442\u043e \u044d\u0442\u043e?", "\u0447\u0430\u0439")
    rows[52] = {"messages": [*chat("call", "it")["messages"], {"role": "observation", "content": "done"}]}
    sample = prepare(tmp_path, rows)
    why = _why(sample)
    assert why[21].startswith("longest row")
    assert "no supervised token" in why[31]
    assert "shortest row" in why[31]
    assert "script Cyrillic (1 of 60 rows)" in why[42]
    assert "role 'observation' (1 of 60 rows)" in why[53]
    order = [row["row"] for row in sample.batch_rows]
    assert set(order[:8]) >= {1, 21, 31, 42, 53}
    assert sorted(order) == list(range(1, 61))
    rest = [row for row in order[len(why) :] if row not in why]
    assert rest == sorted(rest)


def test_healthy_rows_of_one_kind_keep_their_order(tmp_path: Path) -> None:
    sample = prepare(tmp_path, PLAIN)
    order = [row["row"] for row in sample.batch_rows]
    chosen = list(_why(sample))
    assert order[: len(chosen)] == chosen
    assert order[len(chosen) :] == [row for row in range(1, 61) if row not in chosen]
    assert len(chosen) <= 5


def test_the_same_rows_give_the_same_choice(tmp_path: Path) -> None:
    first, again = prepare(tmp_path, PLAIN), prepare(tmp_path, PLAIN)
    assert first.batch_rows == again.batch_rows
    assert first.evidence == again.evidence


def test_ids_are_kept_only_of_rows_that_can_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MAX_ROWS", 10)
    rows = list(PLAIN)
    rows[44] = chat("word " * 60, "long")
    rows[45] = chat("word " * 70, "long")
    rows[50] = chat("broken \ufffd text", "b")
    sample = prepare(tmp_path, rows)
    with_ids = [row.row for row in sample.evidence.rows if row.input_ids]
    assert len(sample.evidence.rows) == 60
    assert set(with_ids) >= {*range(1, 11), 46, 51}
    assert 45 not in with_ids  # it was the longest for a while
    assert {view.row for view in sample.views} == {row["row"] for row in sample.batch_rows} == set(with_ids)
    assert 51 in {view.row for view in sample.views}  # a finding may name it


def test_what_runs_is_compared_with_the_whole(tmp_path: Path) -> None:
    rows = [*PLAIN, *[chat("word " * 30, "x")] * 60]
    sample = prepare(tmp_path, rows, num_trial_rows=8)
    found = sample.evidence.extra["distribution"]
    assert (found["trial_rows"]["num_rows"], found["all_rows"]["num_rows"]) == (8, 120)
    assert found["trial_rows"]["length_max"] == found["all_rows"]["length_max"]
    assert any("the first 8 rows that trials take against all 120" in note for note in sample.evidence.notes)


def test_rows_behind_the_token_budget_are_scanned(tmp_path: Path) -> None:
    rows = [*PLAIN * 4]
    rows[200] = chat("word " * 200, "far behind")
    rows[210] = {"messages": "not a list"}
    rows[220] = chat("\u8336", "\u8336")
    sample = prepare(tmp_path, rows, max_tokens=500)
    data = sample.evidence
    assert data.num_rows_read == 240
    assert data.num_rows_usable < 150
    assert {201, 221} <= {row.row for row in data.rows}
    assert [row.row for row in data.rows] == sorted(row.row for row in data.rows)
    assert [row.row for row in data.rejected] == [211]
    assert _why(sample)[201].startswith("longest row")
    assert any("rows behind row" in note and "were tokenised" in note for note in data.notes)


def test_a_limit_of_rows_is_told(tmp_path: Path) -> None:
    data = prepare(tmp_path, PLAIN, max_rows=10).evidence
    assert data.num_rows_read == data.num_rows_usable == 10
    assert any("has more than 10 rows: the first 10 were read" in note for note in data.notes)
    exact = prepare(tmp_path, PLAIN, max_rows=60).evidence
    assert not any("more than" in note for note in exact.notes)


def test_numbers_of_many_rows_take_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hotfire_workers.train.records import plain

    monkeypatch.setattr(sampling, "MAX_ROWS", 10)
    sample = prepare(tmp_path, PLAIN * 5)
    text = json.dumps(plain(sample.evidence.rows))
    assert len(text) / len(sample.evidence.rows) < 400


@pytest.mark.parametrize(
    ("text", "scripts"),
    [
        ("na\u00efve caf\u00e9", []),
        ("\u0447\u0430\u0439", ["Cyrillic"]),
        ("\u304a\u8336", ["Japanese", "Chinese characters"]),
        ("fine \U0001f600", ["emoji"]),
    ],
)
def test_scripts(text: str, scripts: list[str]) -> None:
    assert scripts_of(text) == scripts


def test_both_sides_of_a_preference_pair_are_measured(tmp_path: Path) -> None:
    rows = [
        {"prompt": "What is it?", "chosen": " A sea.", "rejected": " No."},
        {"prompt": "And this?", "chosen": " A poem about the sea.", "rejected": " "},
    ]
    data = prepare(tmp_path, rows, {}).evidence
    assert (data.format, data.mask_source) == ("PREFERENCE", "completion")
    assert data.rejected_answers is not None
    assert [row.row for row in data.rejected_answers] == [row.row for row in data.rows] == [1, 2]
    assert [row.empty_answer for row in data.rejected_answers] == [False, True]
    assert all(row.num_supervised for row in data.rows)


def test_alpaca_rows_are_conversations_where_there_is_a_template(tmp_path: Path) -> None:
    rows = [{"instruction": "Add", "input": "1 2", "output": "3", "history": [["a", "b"]]}]
    sample = prepare(tmp_path, rows)
    text = "".join(token.text or "" for token in sample.views[0].tokens)
    assert text == "[gMASK]<sop><|user|>\na<|assistant|>\nb<|user|>\nAdd\n1 2<|assistant|>\n3"
    assert "".join(t.text or "" for t in sample.views[0].tokens if t.trained) == "b3"


def test_sharegpt_roles_are_mapped_as_trainers_do(tmp_path: Path) -> None:
    rows = [{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}]
    path = write_rows(tmp_path / "r", rows)
    tokens = TokenFacts(tokenizer=make_tokenizer(STRICT), stop_ids=[0], end_ids=frozenset([0]))
    request = PrepareRequest(out_dir="", model={}, data={"path": str(path)}, training={})
    data = prepare_sample(request, tokens).evidence
    assert (data.format, data.num_rows_usable) == ("SHAREGPT", 1)

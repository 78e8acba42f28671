"""Input that is broken or hostile: each is a row with its reason or a clear refusal; the rest is judged."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.train_data import specimens
from tests.unit.train_data.specimens import chat, make_tokenizer

from hotfire.rules.data import DATA_RULES
from hotfire.rules.engine import judge
from hotfire.rules.evidence import DataEvidence, Evidence, PrepareRequest
from hotfire_workers.train.data import guard, stream, template
from hotfire_workers.train.rows import PreparedSample, TokenFacts, prepare_sample

ONE = chat("What is the capital of France?", "Paris.")
TWO = chat("hello there", "I am fine")
LINE = json.dumps(ONE).encode() + b"\n"


def prepare(
    path: Path, content: bytes | list[Any], *, tokenizer: Any = None, training: Any = None, **data: Any
) -> PreparedSample:
    if isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content).encode()
    path.write_bytes(content)
    tokens = TokenFacts(tokenizer=tokenizer or make_tokenizer(), stop_ids=[0], end_ids=frozenset([0]))
    request = PrepareRequest(
        out_dir="", model={}, data={"path": str(path), **data}, training=training or {}, max_rows=20_000
    )
    return prepare_sample(request, tokens)


def look(*args: Any, **kwargs: Any) -> DataEvidence:
    return prepare(*args, **kwargs).evidence


def rejected(data: DataEvidence) -> dict[int, str]:
    return {row.row: row.reason for row in data.rejected}


def test_lines_that_are_cut_off(tmp_path: Path) -> None:
    data = look(tmp_path / "r", LINE + LINE[:40] + b"\n" + LINE + LINE[:-10])
    assert [r.row for r in data.rows] == [1, 3]
    assert all("cut off" in reason for reason in rejected(data).values())
    assert list(rejected(data)) == [2, 4]


def test_byte_order_marks(tmp_path: Path) -> None:
    data = look(tmp_path / "r", b"\xef\xbb\xbf" + LINE + LINE + b"\xef\xbb\xbf" + LINE)
    assert data.extra["byte_order_mark"] is True
    assert [r.row for r in data.rows] == [1, 2]
    assert rejected(data) == {3: "a byte-order mark stands before the row: files were joined; remove it"}


def test_nul_bytes(tmp_path: Path) -> None:
    data = look(tmp_path / "r", LINE + b"\0" * 30 + b"\n" + LINE)
    assert [r.row for r in data.rows] == [1, 3]
    assert "NUL bytes" in rejected(data)[2]
    escaped = look(tmp_path / "r", [ONE, chat("a\0b", "c")])
    assert escaped.num_rows_usable == 2  # as text it is a character like any other
    assert escaped.extra["nul_character_rows"] == [2]


@pytest.mark.parametrize("megabytes", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_megabytes_in_one_row(tmp_path: Path, megabytes: int) -> None:
    rows = [ONE, chat("word " * 200_000 * megabytes, "yes"), TWO]
    data = look(tmp_path / "r", rows, training={"max_length": 64})
    assert [r.row for r in data.rows] == [1, 2, 3]
    assert data.rows[1].num_tokens_untruncated > 200_000 * megabytes
    assert data.rows[1].num_tokens == 64


def test_a_row_beyond_the_limit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_ROW_BYTES", 1 << 20)
    data = look(tmp_path / "r", [ONE, chat("x" * (1 << 20), "yes"), TWO])
    assert [r.row for r in data.rows] == [1, 3]
    assert rejected(data) == {2: "longer than 1 MiB"}


def test_surrogates(tmp_path: Path) -> None:
    data = look(tmp_path / "r", [ONE, chat("half \ud83d here", "b"), TWO])
    assert [r.row for r in data.rows] == [1, 3]
    assert "half of a surrogate pair at character 6" in rejected(data)[2]
    json.dumps(data.rejected[0].excerpt).encode()


@pytest.mark.parametrize(
    ("row", "says", "kind"),
    [
        ({"input_ids": ["5", "6"]}, "holds a text .* the ids are written as texts", "malformed"),
        ({"input_ids": "[5, 6]"}, "is a text, .* a list written as a text", "malformed"),
        ({"input_ids": [5, 6], "labels": [5, 6, 7]}, "'labels' has 3 numbers, the ids are 2", "malformed"),
        ({"input_ids": [5], "attention_mask": [1, 1]}, "'attention_mask' has 2 numbers", "malformed"),
        ({"input_ids": [[5, 6]]}, "a nested list", "nested-ids"),
        ({"input_ids": []}, "no tokens", "no-tokens"),
        ({"input_ids": None}, "is null", "malformed"),
        ({"ids": [5]}, "no field 'input_ids'; the row has 'ids'", "malformed"),
    ],
)
def test_ids_that_are_none(tmp_path: Path, row: Any, says: str, kind: str) -> None:
    good = {"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "attention_mask": [1, 1, 1]}
    data = look(tmp_path / "r", [good, row, good])
    assert [r.row for r in data.rows] == [1, 3]
    (bad,) = data.rejected
    assert (bad.row, bad.kind) == (2, kind)
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(bad.reason)


def test_one_row_without_labels_among_others_does_not_change_the_mask(tmp_path: Path) -> None:
    rows = [{"input_ids": [5, 6, 7]}, {"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}]
    data = look(tmp_path / "r", rows)
    assert (data.mask_source, data.collator) == ("labels", "COMPLETION")


# ---- templates ----

FOREVER = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def _when(condition: str, then: str) -> str:
    return f"{{% if {condition} %}}{then}{{% endif %}}{specimens.GLM}"


def test_a_template_that_loops_for_ever_on_some_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "_LIMIT_S", 0.3)
    tokenizer = make_tokenizer(_when("messages | length > 3", FOREVER))
    rows = [ONE, chat("a", "b", "c", "d"), TWO]
    data = look(tmp_path / "r", rows, tokenizer=tokenizer)
    assert [r.row for r in data.rows] == [1, 3]
    assert "does not come to an end on the row (it took longer than 0.3 s)" in rejected(data)[2]
    assert data.rejected[0].kind == "template"


def test_a_template_that_loops_for_ever_on_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "_LIMIT_S", 0.3)
    data = look(tmp_path / "r", [ONE] * 1000, tokenizer=make_tokenizer(FOREVER))
    assert "does not come to an end, not even on one short turn" in (data.read_error or "")


def test_a_template_that_eats_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotfire_workers.train.rows._MEMORY_BYTES", 1 << 30)
    doubling = "{% set s = namespace(t='x') %}{% for i in range(60) %}{% set s.t = s.t ~ s.t %}{% endfor %}"
    tokenizer = make_tokenizer(_when("messages | length > 3", doubling))
    data = look(tmp_path / "r", [ONE, chat("a", "b", "c", "d"), TWO], tokenizer=tokenizer)
    assert [r.row for r in data.rows] == [1, 3]
    assert "takes too much memory" in rejected(data)[2]


def test_a_template_that_raises_on_some_rows(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(_when("messages | length > 3", "{{ raise_exception('only one turn') }}"))
    data = look(tmp_path / "r", [ONE, chat("a", "b", "c", "d"), TWO], tokenizer=tokenizer)
    assert [r.row for r in data.rows] == [1, 3]
    assert rejected(data)[2] == "the chat template refuses the row: only one turn"


def test_a_tokenizer_that_refuses_a_row(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    real = type(tokenizer)._encode_plus

    class Picky(type(tokenizer)):  # type: ignore[misc]
        def _encode_plus(self, text: Any, *args: Any, **kwargs: Any) -> Any:
            if any("Paris" in t for t in ([text] if isinstance(text, str) else text)):
                raise OverflowError("Paris")
            return real(self, text, *args, **kwargs)

    tokenizer.__class__ = Picky
    data = look(tmp_path / "r", [TWO, ONE, TWO], tokenizer=tokenizer)
    assert [r.row for r in data.rows] == [1, 3]
    assert rejected(data) == {2: "the tokenizer refuses the text of the row (OverflowError)"}


# ---- the whole ----


def test_a_gzip_bomb_is_read_up_to_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_TOTAL_BYTES", 1 << 20)
    bomb = gzip.compress(LINE * 50_000)
    assert len(bomb) < 50_000
    data = look(tmp_path / "r", bomb)
    assert data.num_rows_usable == data.num_rows_read > 1000
    assert any("more than 1 MiB: the first" in note for note in data.notes)


def test_a_gzip_bomb_of_one_endless_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_TOTAL_BYTES", 64 << 20)
    data = look(tmp_path / "r", gzip.compress(b'{"text": "' + b"x" * (100 << 20)))
    assert data.read_error is not None


def test_rows_of_several_layouts_are_named(tmp_path: Path) -> None:
    rows = [ONE, {"prompt": "a", "completion": "b"}, TWO, {**ONE, "source": "x"}]
    data = look(tmp_path / "r", rows)
    assert [r.row for r in data.rows] == [1, 3, 4]
    assert rejected(data) == {2: "no field 'messages'; the row has 'prompt', 'completion'"}
    assert data.extra["column_sets"] == [
        {"columns": ["messages"], "num_rows": 2, "rows": [1, 3]},
        {"columns": ["completion", "prompt"], "num_rows": 1, "rows": [2]},
        {"columns": ["messages", "source"], "num_rows": 1, "rows": [4]},
    ]
    assert any("1 row has completion, prompt (row 2)" in note for note in data.notes)


def test_each_is_named_by_a_finding_and_the_rest_is_judged(tmp_path: Path) -> None:
    bad = {
        2: LINE[:40] + b"\n",
        4: b"\xef\xbb\xbf" + LINE,
        6: b"\0" * 30 + b"\n",
        8: json.dumps(chat("half \ud83d here", "b")).encode() + b"\n",
        10: json.dumps(chat("a", "b", "c", "d")).encode() + b"\n",
        12: b'{"messages": [["hello"]]}\n',
        14: b"[1, 2]\n",
    }
    healthy = [chat(f"What is the capital number {n}?", f"The town {n}.") for n in range(1, 16)]
    lines = [bad.get(n, json.dumps(row).encode() + b"\n") for n, row in enumerate(healthy, start=1)]
    tokenizer = make_tokenizer(_when("messages | length > 3", "{{ raise_exception('only one turn') }}"))
    data = look(tmp_path / "r", b"".join(lines), tokenizer=tokenizer)
    assert [r.row for r in data.rows] == [n for n in range(1, 16) if n not in bad]
    findings = judge(Evidence(data=data, training={}, spec={"data": {}}), rules=list(DATA_RULES)).findings
    named = {row: f for f in findings for row in f.evidence.get("rows", ()) if row in bad}
    assert set(named) == set(bad)
    # Five reasons have a finding each, the others share one.
    for row, finding in named.items():
        assert rejected(data)[row] in (finding.evidence.get("reasons") or [finding.evidence["reason"]])
    assert len({id(finding) for finding in named.values()}) == 6


def test_reading_stops_when_its_time_is_over(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_bytes(LINE * 300_000)
    request = PrepareRequest(out_dir="", model={}, data={"path": str(path)}, training={}, time_limit_s=0.5)
    started = time.monotonic()
    data = prepare_sample(request, TokenFacts(tokenizer=make_tokenizer())).evidence
    assert time.monotonic() - started < 10
    assert 0 < data.num_rows_usable < 300_000
    assert any("reading took longer than 0.5 s: the first" in note for note in data.notes)


def test_redaction_keeps_no_text(tmp_path: Path) -> None:
    rows = [ONE, {"messages": "secret text of a row"}, {"messages": [{"role": "human", "content": "secret"}]}]
    sample = prepare(tmp_path / "r", [*rows, TWO], redact=True)
    assert all(token.text is None for view in sample.views for token in view.tokens)
    assert all(token.text is None for view in sample.evidence.samples for token in view.tokens)
    assert [r.excerpt for r in sample.evidence.rejected] == [None, None]
    assert "secret" not in json.dumps([r.reason for r in sample.evidence.rejected])


def test_the_time_limit_leaves_nothing_behind() -> None:
    import signal

    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(guard.TookTooLongError), guard.time_limit(0.05):
        while True:
            pass
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

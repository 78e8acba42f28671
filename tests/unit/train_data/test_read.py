"""Rows of a sample file: numbering, bad rows, compression, arrays."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotfire_workers.train.data import stream
from hotfire_workers.train.data.rawrow import RawRow
from hotfire_workers.train.data.read import read_rows
from hotfire_workers.train.data.stream import SampleError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=4)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _read(path: Path, content: bytes | str) -> list[RawRow]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_rows(path))


def test_rows_are_numbered_by_line_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    rows = _read(tmp_path / "r.jsonl", '\n{"a": 1}\n\n   \n{"a": 2}\r\n{"a": 3}')
    assert [(r.row, r.value) for r in rows] == [(2, {"a": 1}), (5, {"a": 2}), (6, {"a": 3})]


def test_bad_rows_have_a_reason_and_the_rest_follows(tmp_path: Path) -> None:
    content = (
        b'{"a": 1}\n{"a": \n[1, 2]\n\xff\xfe{"a"}\n{"n": ' + b"9" * 5000 + b'}\n{"a": 6}\n' + b"[" * 100_000
    )
    rows = _read(tmp_path / "r.jsonl", content)
    assert [r.row for r in rows if r.value is not None] == [1, 6]
    problems = {r.row: r.problem or "" for r in rows if r.value is None}
    assert "not valid JSON" in problems[2]
    assert "a list, not a JSON object" in problems[3]
    assert "not UTF-8" in problems[4]
    assert "too many digits" in problems[5]
    assert "nested too deeply" in problems[7]
    assert all(len(r.excerpt or "") <= 160 for r in rows)


@QUICK
@given(
    values=st.lists(OBJECTS, min_size=1, max_size=8),
    indent=st.sampled_from([None, 0, 2]),
    compression=st.sampled_from(["", "gzip", "zstd"]),
)
def test_lines_and_arrays_give_back_what_was_written(
    tmp_path: Path, values: list[dict[str, Any]], indent: int | None, compression: str
) -> None:
    pack = {"": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}[compression]
    lines = "\n".join(json.dumps(v) for v in values).encode()
    array = json.dumps(values, indent=indent).encode()
    expected = [(i, v) for i, v in enumerate(values, start=1)]
    assert [(r.row, r.value) for r in _read(tmp_path / "r", pack(lines))] == expected
    assert [(r.row, r.value) for r in _read(tmp_path / "r", pack(array))] == expected


@QUICK
@given(content=st.binary(max_size=300))
def test_any_bytes_give_rows_or_one_clear_error(tmp_path: Path, content: bytes) -> None:
    try:
        rows = _read(tmp_path / "r", content)
    except SampleError:
        return
    assert all((r.value is None) == bool(r.problem) for r in rows)


@QUICK
@given(values=st.lists(OBJECTS, min_size=1, max_size=5), block=st.integers(1, 40))
def test_small_blocks_change_nothing(tmp_path: Path, values: list[dict[str, Any]], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "_BLOCK_BYTES", block)
        array = json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if b"\x00" not in array:
            assert [r.value for r in _read(tmp_path / "r", array)] == values


def test_a_malformed_element_of_an_array_stands_alone(tmp_path: Path) -> None:
    rows = _read(tmp_path / "r.json", '[{"a": "x, ]"}, {"a" 2}, , {"a": 3}, {"a": 4')
    assert [(r.row, r.value) for r in rows if r.value] == [(1, {"a": "x, ]"}), (4, {"a": 3})]
    assert {r.row: r.problem for r in rows if r.problem} == {
        2: "not valid JSON: Expecting ':' delimiter (character 6 of the row)",
        3: "an empty element: two commas in a row",
        5: "the file ends in the middle of this row",
    }


def test_lines_that_begin_with_a_list_are_lines(tmp_path: Path) -> None:
    rows = _read(tmp_path / "r.jsonl", '[1, 2]\n{"a": 2}\n{"a": 3}\n')
    assert [(r.row, r.value) for r in rows] == [(1, None), (2, {"a": 2}), (3, {"a": 3})]


def test_a_row_that_is_too_long_is_rejected_without_being_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_ROW_BYTES", 1000)
    monkeypatch.setattr(stream, "_BLOCK_BYTES", 300)
    long, short = json.dumps({"a": "x" * 5000}), json.dumps({"a": 1})
    rows = _read(tmp_path / "r.jsonl", f"{short}\n{long}\n{short}\n")
    assert [r.value for r in rows] == [{"a": 1}, None, {"a": 1}]
    assert "longer than" in (rows[1].problem or "")
    many = json.dumps([{"a": 1}, {"a": [1] * 2000}, {"a": 1}])
    rows = _read(tmp_path / "r.json", many)
    assert [r.value for r in rows] == [{"a": 1}, None, {"a": 1}]


def test_a_cut_off_gzip_gives_the_rows_before_the_cut(tmp_path: Path) -> None:
    lines = b"".join(b'{"a": %d, "b": "%d"}\n' % (i, i * 7919) for i in range(20_000))
    packed = gzip.compress(lines)
    rows = _read(tmp_path / "r.jsonl.gz", packed[: len(packed) // 2])
    assert len([r for r in rows if r.value]) > 100
    assert "cut off or damaged" in (rows[-1].problem or "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"PAR1\x15\x04", "Parquet"),
        (b"PK\x03\x04rest", "zip"),
        (b"\x00\x01\x02{}", "binary"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\x1f\x8b\x08\x00garbage", "cannot be read"),
    ],
)
def test_what_is_no_sample_says_so(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(SampleError, match=says):
        _read(tmp_path / "r", content)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="does not exist"):
        list(read_rows(tmp_path / "none.jsonl"))
    with pytest.raises(SampleError, match="holds no"):
        list(read_rows(tmp_path))
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    assert [r.value for r in read_rows(tmp_path)] == [{"a": 1}]
    (tmp_path / "b.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(SampleError, match="Name one file"):
        list(read_rows(tmp_path))


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    assert [r.value for r in _read(tmp_path / "r", b'\xef\xbb\xbf{"a": 1}\n')] == [{"a": 1}]

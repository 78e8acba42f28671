"""Everything a sample can be written in besides JSON Lines: tables, objects, folders, text."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotfire_workers.train.data import csvrows, stream
from hotfire_workers.train.data.rawrow import RawRow, Reading
from hotfire_workers.train.data.read import read_rows
from hotfire_workers.train.data.stream import SampleError

ROWS: list[dict[str, Any]] = [
    {"prompt": f"question {i}, with a comma", "completion": f"answer\n{i} \u8336"} for i in range(5)
]
CHAT = [
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": f"b{i}"}]}
    for i in range(4)
]
PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _read(path: Path, content: bytes | str, **how: Any) -> list[RawRow]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_rows(path, **how))


def _values(rows: list[RawRow]) -> list[Any]:
    return [row.value for row in rows]


def _parquet(rows: list[dict[str, Any]], **how: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, **how)
    return sink.getvalue().to_pybytes()


def _arrow(rows: list[dict[str, Any]], *, as_stream: bool) -> bytes:
    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    make = pa.ipc.new_stream if as_stream else pa.ipc.new_file
    with make(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue().to_pybytes()


# ---- Parquet and Arrow ----


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize(
    "content",
    [_parquet(ROWS, row_group_size=2), _arrow(ROWS, as_stream=False), _arrow(ROWS, as_stream=True)],
    ids=["parquet", "arrow file", "arrow stream"],
)
def test_tables_give_back_what_was_written(tmp_path: Path, content: bytes, ending: str) -> None:
    rows = _read(tmp_path / f"rows{ending}", PACK[ending](content))
    assert [(r.row, r.value) for r in rows] == list(enumerate(ROWS, start=1))


@pytest.mark.parametrize("first", ["pass", "import pyarrow.parquet"], ids=["fresh", "pyarrow loaded before"])
def test_the_memory_limit_leaves_room_in_a_fresh_process(tmp_path: Path, first: str) -> None:
    """Its pools and threads take address space once; here, where pyarrow has run before, they have it."""
    (tmp_path / "r").write_bytes(_parquet(CHAT))
    code = (
        f"{first}\nimport sys, pathlib\nfrom hotfire_workers.train.data.read import read_rows\n"
        "print([row.problem for row in read_rows(pathlib.Path(sys.argv[1]))])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "r")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == str([None] * len(CHAT))


def test_nested_columns_come_as_lists_and_objects(tmp_path: Path) -> None:
    assert _values(_read(tmp_path / "r", _parquet(CHAT))) == CHAT


def test_a_damaged_row_group_costs_no_other(tmp_path: Path) -> None:
    rows = [{"text": f"{i} " * 2000} for i in range(6)]
    content = bytearray(_parquet(rows, row_group_size=2, compression="gzip", use_dictionary=False))
    facts = pq.ParquetFile(pa.BufferReader(bytes(content))).metadata.row_group(1).column(0)
    begin = facts.data_page_offset
    content[begin : begin + facts.total_compressed_size] = b"\xff" * facts.total_compressed_size
    found = _read(tmp_path / "r", bytes(content))
    assert [(r.row, r.value is None) for r in found] == [
        (1, False),
        (2, False),
        (3, True),
        (5, False),
        (6, False),
    ]
    assert "row group 2 cannot be read" in (found[2].problem or "")


def test_a_page_that_unpacks_to_gigabytes_is_refused_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Parquet bomb: a few hundred kilobytes whose one page is 256 MiB of zeros."""
    from hotfire_workers.train.data import columnar

    monkeypatch.setattr(columnar, "_MEMORY_BYTES", 64 << 20)
    table = pa.table({"text": pa.array([b"\0" * (256 << 20), b"ok"], pa.binary())})
    path = tmp_path / "bomb.parquet"
    pq.write_table(
        table, path, compression="zstd", use_dictionary=False, write_statistics=False, row_group_size=1
    )
    assert path.stat().st_size < 1 << 20
    del table
    bad, good = read_rows(path)
    assert "GiB of memory" in (bad.problem or "")
    assert (good.row, good.value) == (2, {"text": b"ok"})


def test_a_value_repeated_by_a_dictionary_is_not_expanded_at_once(tmp_path: Path) -> None:
    """The other Parquet bomb: one text of a megabyte, and a dictionary that says it ten thousand times."""
    text = pa.array(["x" * (1 << 20)])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), text)
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"text": column}), path, store_schema=False)
    assert path.stat().st_size < 1 << 20
    rows = read_rows(path)
    assert len((next(rows).value or {})["text"]) == 1 << 20
    assert next(rows).row == 2


@pytest.mark.parametrize(
    "content", [b"PAR1" + b"\0" * 50, b"ARROW1\0\0" + b"\1" * 50, b"\xff\xff\xff\xff\x10"]
)
def test_tables_that_are_none_say_so(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SampleError, match=r"(Parquet|Arrow) file cannot be read: damaged"):
        _read(tmp_path / "r", content)


@QUICK
@given(place=st.floats(0, 1), length=st.integers(1, 40), kind=st.sampled_from(["parquet", "file", "stream"]))
def test_damage_anywhere_gives_rows_or_one_clear_error(
    tmp_path: Path, place: float, length: int, kind: str
) -> None:
    content = bytearray(_parquet(ROWS) if kind == "parquet" else _arrow(ROWS, as_stream=kind == "stream"))
    begin = int(place * len(content))
    content[begin : begin + length] = b"\x7f" * len(content[begin : begin + length])
    try:
        rows = _read(tmp_path / "r", bytes(content))
    except SampleError:
        return
    assert all((r.value is None) == bool(r.problem) for r in rows)


# ---- CSV ----


def _csv(rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    import csv
    import io

    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_csv_gives_back_what_was_written(tmp_path: Path, delimiter: str, ending: str) -> None:
    rows = _read(tmp_path / "data-fetched", PACK[ending](_csv(ROWS, delimiter).encode()))
    assert [(r.row, r.value) for r in rows] == list(enumerate(ROWS, start=1))


@QUICK
@given(
    values=st.lists(
        st.fixed_dictionaries(
            {
                name: st.text(st.characters(exclude_characters="\0\r", codec="utf-8"))
                for name in ("prompt", "b")
            }
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_text_survives_csv(tmp_path: Path, values: list[dict[str, str]]) -> None:
    assert _values(_read(tmp_path / "r.csv", _csv(values))) == values


def test_a_quote_astray_costs_its_line_only(tmp_path: Path) -> None:
    content = 'prompt,completion\n1,a\n"2,b\n3,"c"\n"4"x,d\n5,e,f\n6,"two\nlines"\n7,"g\n8,h\n'
    rows = _read(tmp_path / "r", content)
    assert [r.value["prompt"] for r in rows if r.value] == ["1", "3", "6", "8"]
    problems = {r.row: r.problem for r in rows if r.problem}
    assert problems == {
        2: "a quote is astray: ',' expected after '\"' (line 3 of the file)",
        4: "a quote is astray: ',' expected after '\"' (line 5 of the file)",
        5: "3 fields where the header has 2 (line 6 of the file)",
        7: "a quote is opened and never closed (line 9 of the file)",
    }


def test_many_quotes_that_never_close_take_no_quadratic_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csvrows, "_MAX_LINES_OF_RECORD", 50)
    monkeypatch.setattr(csvrows, "_MAX_GIVEN_BACK", 500)
    lines = "".join(f'{i},"never\n' if i == 0 else f"{i},x\n" for i in range(300))
    rows = _read(tmp_path / "r", "prompt,completion\n" + lines)
    assert len([r for r in rows if r.value]) == 299


def test_csv_headers_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="is no header"):
        _read(tmp_path / "r.csv", "prompt,,b\n1,2,3\n")
    with pytest.raises(SampleError, match="names a column twice: prompt"):
        _read(tmp_path / "r.csv", "prompt,prompt\n1,2\n")


def test_csv_with_bytes_that_are_no_text(tmp_path: Path) -> None:
    rows = _read(tmp_path / "r.csv", b"text\nfine\n\xff\xfe\nfine\n")
    assert _values(rows) == [{"text": "fine"}, None, {"text": "fine"}]
    assert "not UTF-8 text: byte 0xff" in (rows[1].problem or "")


def test_columns_of_other_names_tell_a_csv_file_too(tmp_path: Path) -> None:
    assert _values(_read(tmp_path / "r", "frage\thm\nwas\tnun\n", columns=["frage"])) == [
        {"frage": "was", "hm": "nun"}
    ]


# ---- JSON and text ----


@pytest.mark.parametrize("indent", [None, 2])
def test_an_object_with_one_list_is_its_list(tmp_path: Path, indent: int | None) -> None:
    document = {"version": "1 [a]", "about": {"rows": [1, {"x": 2}]}, "data": CHAT, "end": True}
    reading = Reading()
    assert _values(_read(tmp_path / "r", json.dumps(document, indent=indent), reading=reading)) == CHAT
    assert reading.notes == ["the rows are the list 'data' of the JSON object"]


def test_one_row_with_a_list_is_a_row(tmp_path: Path) -> None:
    assert _values(_read(tmp_path / "r", json.dumps(CHAT[0]))) == [CHAT[0]]
    other = {"id": 1, "extra": [{"text": "x"}], "text": "y"}
    assert _values(_read(tmp_path / "s", json.dumps(other) + "\n" + json.dumps(other))) == [other, other]


def test_objects_over_several_lines_are_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"several lines\. Give JSON Lines"):
        _read(tmp_path / "r", "\n".join(json.dumps(row, indent=1) for row in CHAT))


@pytest.mark.parametrize(("name", "how"), [("r.txt", {}), ("data-fetched", {"as_text": True})])
def test_lines_of_text(tmp_path: Path, name: str, how: dict[str, Any]) -> None:
    rows = _read(tmp_path / name, b"one line\r\n\nanother\n\xff\n", **how)
    assert [(r.row, r.value) for r in rows] == [
        (1, {"text": "one line"}),
        (3, {"text": "another"}),
        (4, None),
    ]


def test_reading_ends_at_its_bound_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decompression bomb: 40 MB of rows in 40 kB; and what a file larger than the memory comes to."""
    monkeypatch.setattr(stream, "MAX_TOTAL_BYTES", 1 << 20)
    line = json.dumps({"text": "x" * 1000}).encode() + b"\n"
    reading = Reading()
    rows = _read(tmp_path / "r.gz", gzip.compress(line * 40_000), reading=reading)
    assert 900 < len(rows) < 1100
    assert all(r.value for r in rows)
    assert reading.stopped == "the sample has more than 1 MiB"


# ---- folders ----


def _save(folder: Path, rows: list[dict[str, Any]], num_shards: int = 1) -> Path:
    """As `datasets.save_to_disk` does."""
    folder.mkdir(parents=True)
    size = -(-len(rows) // num_shards)
    names = []
    for i in range(num_shards):
        names.append(f"data-{i:05d}-of-{num_shards:05d}.arrow")
        (folder / names[-1]).write_bytes(_arrow(rows[i * size : (i + 1) * size], as_stream=True))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": n} for n in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {}}))
    return folder


def test_a_saved_dataset(tmp_path: Path) -> None:
    rows = list(read_rows(_save(tmp_path / "saved", CHAT, num_shards=2)))
    assert [(r.row, r.value) for r in rows] == list(enumerate(CHAT, start=1))


def test_of_saved_splits_the_training_rows_are_taken(tmp_path: Path) -> None:
    _save(tmp_path / "train", CHAT[:2])
    _save(tmp_path / "test", CHAT[2:])
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    reading = Reading()
    assert _values(list(read_rows(tmp_path, reading=reading))) == CHAT[:2]
    assert reading.notes == ["of the splits train, test the rows of 'train' are taken"]
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["a", "b"]}')
    with pytest.raises(SampleError, match=r"has the splits a, b\. Name one"):
        list(read_rows(tmp_path))


def test_a_folder_as_the_hub_has_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for i, row in enumerate(CHAT):
        (tmp_path / "data" / f"train-{i:05d}-of-00004.parquet").write_bytes(_parquet([row]))
    (tmp_path / "data" / "test-00000-of-00001.parquet").write_bytes(_parquet(ROWS))
    (tmp_path / "README.md").write_text("# a dataset")
    (tmp_path / "info.json").write_text("{}")
    assert [(r.row, r.value) for r in read_rows(tmp_path)] == list(enumerate(CHAT, start=1))


def test_a_state_that_points_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.arrow").write_bytes(_arrow(CHAT, as_stream=True))
    folder = _save(tmp_path / "saved", CHAT)
    (folder / "state.json").write_text('{"_data_files": [{"filename": "../secret.arrow"}]}')
    with pytest.raises(SampleError, match="names no data files"):
        list(read_rows(folder))
    (folder / "state.json").write_text('{"_data_files": [{"filename": "gone.arrow"}]}')
    with pytest.raises(SampleError, match=r"1 of 1 files of the dataset are missing \(gone.arrow\)"):
        list(read_rows(folder))


def test_what_real_datasets_wrote(tmp_path: Path) -> None:
    """Against the library itself, where it is installed."""
    datasets = pytest.importorskip(
        "datasets", reason="compares with the datasets library, which Hotfire does without"
    )
    folder = tmp_path / "saved"
    made = datasets.DatasetDict({"train": datasets.Dataset.from_list(CHAT)})
    made.save_to_disk(str(folder), num_shards={"train": 2})
    assert _values(list(read_rows(folder))) == CHAT

"""Rows of a CSV file, record by record: a quote that is never closed costs one line and not the file."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from hotfire_workers.train.data import rawrow, stream
from hotfire_workers.train.data.rawrow import RawRow, excerpt
from hotfire_workers.train.data.stream import ByteStream, SampleError

_DELIMITERS = ",\t;|"
_SUFFIXES = {".csv": ",", ".tsv": "\t"}
_MAX_GIVEN_BACK = 1_000_000
_MAX_LINES_OF_RECORD = 2000
"""A quoted field may hold line ends; behind so many its quote was never meant to open a field."""


def delimiter_of(path: Path, head: bytes, columns: Collection[str]) -> str | None:
    """The delimiter, if this is a CSV file: by its name, or by a first line that holds a known column.

    Args:
        path: For its suffixes.
        head: The first bytes of the text.
        columns: Columns that rows may have.
    """
    header = head.partition(b"\n")[0].decode("utf-8", "replace").strip()
    best = max(_DELIMITERS, key=lambda d: sum(name in columns for name in _fields(header, d) or []))
    if any(name in columns for name in _fields(header, best) or []):
        return best
    named = [_SUFFIXES[suffix] for suffix in path.suffixes if suffix in _SUFFIXES]
    if not named:
        return None
    return max((named[0], *_DELIMITERS), key=lambda d: len(_fields(header, d) or []))


def csv_rows(source: ByteStream, delimiter: str) -> Iterator[RawRow]:
    """Yields one row for each record behind the header; every field is a text.

    A record that cannot be parsed is rejected with its line, and reading goes on at the next line.

    Raises:
        SampleError: There is no usable header.
    """
    csv.field_size_limit(stream.MAX_ROW_BYTES)
    records = _Records(source, delimiter)
    names = _header(records)
    number = 0
    for line, fields, problem, first in records:
        number += 1
        if problem is None and len(fields) != len(names):
            problem = f"{len(fields)} fields where the header has {len(names)}"
        if problem is None:
            yield RawRow(row=number, value=dict(zip(names, fields, strict=True)))
        else:
            problem = f"{problem} (line {line} of the file)"
            yield RawRow(row=number, problem=problem, excerpt=excerpt(first))
    if source.broken:
        yield RawRow(row=number + 1, problem=source.broken)


def _header(records: _Records) -> list[str]:
    _, names, problem, _ = next(records, (0, [], None, ""))
    names = [name.strip() for name in names]
    if problem or not names or not all(names):
        raise SampleError("The first line of the CSV file is no header: it must name every column.")
    if twice := {name for name in names if names.count(name) > 1}:
        raise SampleError(f"The CSV header names a column twice: {', '.join(sorted(twice))[:100]}.")
    return names


def _fields(line: str, delimiter: str) -> list[str] | None:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return None


@dataclass(slots=True)
class _Line:
    number: int
    text: str
    problem: str | None = None


class _Records:
    """Iterates over (line of the file, fields, problem, its first line)."""

    def __init__(self, source: ByteStream, delimiter: str):
        self._source = source.lines()
        self._delimiter = delimiter
        self._back: list[_Line] = []
        self._num_taken = 0
        self._num_given_back = 0

    def __iter__(self) -> Iterator[tuple[int, list[str], str | None, str]]:
        return self

    def __next__(self) -> tuple[int, list[str], str | None, str]:
        pulled: list[_Line] = []
        reader = csv.reader(self._feed(pulled), delimiter=self._delimiter, strict=True)
        fields: list[str] = []
        problem = None
        try:
            while not fields:  # a blank line is no record
                pulled.clear()
                fields = next(reader)
            problem = next((line.problem for line in pulled if line.problem), None)
        except StopIteration:
            raise
        except csv.Error as error:
            self._give_back(pulled[1:])
            ends = "unexpected end" in str(error)
            problem = "a quote is opened and never closed" if ends else f"a quote is astray: {error}"
            problem = pulled[0].problem or problem
        return pulled[0].number, fields, problem, pulled[0].text

    def _feed(self, pulled: list[_Line]) -> Iterator[str]:
        """Lines for one record, noted in `pulled`."""
        # Lines are read again behind a quote that does not close: not for ever.
        most = _MAX_LINES_OF_RECORD if self._num_given_back < _MAX_GIVEN_BACK else 1
        size = 0
        while len(pulled) < most and size <= stream.MAX_ROW_BYTES and (line := self._take()) is not None:
            pulled.append(line)
            size += len(line.text)
            yield line.text

    def _take(self) -> _Line | None:
        if self._back:
            return self._back.pop()
        found = next(self._source, None)
        if found is None:
            return None
        raw, is_whole = found
        self._num_taken += 1
        problem = None if is_whole else rawrow.too_long()
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            text = raw.decode("utf-8", "replace")
            problem = f"not UTF-8 text: byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line"
        if "\0" in text:
            problem = "the line holds NUL bytes: the file was cut off while it was written, or is no text"
        return _Line(self._num_taken, text.removesuffix("\r") + "\n", problem)

    def _give_back(self, lines: list[_Line]) -> None:
        self._num_given_back += len(lines)
        self._back += reversed(lines)

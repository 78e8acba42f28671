"""Rows of a CSV file, record by record: a quote that is never closed costs one line and not the file."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

from hotfire_workers.train.data import rawrow, stream
from hotfire_workers.train.data.rawrow import RawRow, excerpt
from hotfire_workers.train.data.stream import ByteStream, SampleError

_DELIMITERS = ",\t;|"
_SUFFIXES = {".csv": ",", ".tsv": "\t"}
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
    lines = _Lines(source)
    names = _header(lines, delimiter)
    number = 0
    while (line := lines.take()) is not None:
        if not line.strip():
            continue
        number += 1
        begins_at = lines.number
        fields, problem = _record(lines, line, delimiter)
        if problem is None and len(fields) != len(names):
            problem = f"{len(fields)} fields where the header has {len(names)}"
        if problem is not None:
            problem = f"{problem} (line {begins_at} of the file)"
            yield RawRow(row=number, problem=problem, excerpt=excerpt(line))
        else:
            yield RawRow(row=number, value=dict(zip(names, fields, strict=True)))
    if source.broken:
        yield RawRow(row=number + 1, problem=source.broken)


def _header(lines: _Lines, delimiter: str) -> list[str]:
    line = lines.take()
    while line is not None and not line.strip():
        line = lines.take()
    names = [name.strip() for name in (_fields(line, delimiter) if line is not None else None) or []]
    if not names or not all(names):
        raise SampleError("The first line of the CSV file is no header: it must name every column.")
    if twice := {name for name in names if names.count(name) > 1}:
        raise SampleError(f"The CSV header names a column twice: {', '.join(sorted(twice))[:100]}.")
    return names


def _record(lines: _Lines, line: str, delimiter: str) -> tuple[list[str], str | None]:
    """The fields of the record that begins with this line, or why it is none (then only the line is gone)."""
    text, taken, size = line, 0, len(line)
    parts = [line]
    while True:
        if lines.is_cut:
            return [], rawrow.too_long()
        try:
            return next(csv.reader([text], delimiter=delimiter, strict=True)), None
        except csv.Error as error:
            if "unexpected end" not in str(error):
                lines.give_back(taken)
                return [], f"a quote is astray: {error}"
        more = lines.take_until_quote(_MAX_LINES_OF_RECORD - taken)
        taken += len(more)
        size += sum(map(len, more))
        parts += more
        if not more or '"' not in more[-1] or size > stream.MAX_ROW_BYTES:
            lines.give_back(taken)
            return [], "a quote is opened and never closed"
        text = "".join(parts)


def _fields(line: str, delimiter: str) -> list[str] | None:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return None


class _Lines:
    """Lines that can be given back.

    Attributes:
        number: Of the line taken last, from 1.
        is_cut: That line was longer than a row may be.
    """

    def __init__(self, source: ByteStream):
        self._lines = source.lines()
        self._kept: list[tuple[str, bool]] = []
        self._back: list[tuple[str, bool]] = []
        self.number = 0
        self.is_cut = False

    def take(self) -> str | None:
        """The next line with its end; None behind the last one."""
        if self._back:
            text, is_whole = self._back.pop()
        else:
            found = next(self._lines, None)
            if found is None:
                return None
            text, is_whole = found[0].decode("utf-8", "replace").removesuffix("\r") + "\n", found[1]
        self.number += 1
        self.is_cut = not is_whole
        self._kept = [*self._kept, (text, is_whole)] if self._keeps else []
        return text

    _keeps = False

    def take_until_quote(self, max_lines: int) -> list[str]:
        """The next lines up to and with one that holds a quote."""
        self._keeps = True
        taken: list[str] = []
        while len(taken) < max_lines and (line := self.take()) is not None:
            taken.append(line)
            if '"' in line or self.is_cut:
                break
        return taken

    def give_back(self, num_lines: int) -> None:
        """Puts back the lines that `take_until_quote` took since the last record."""
        self._back += reversed(self._kept[len(self._kept) - num_lines :] if num_lines else [])
        self.number -= num_lines
        self._kept, self._keeps = [], False

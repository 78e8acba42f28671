"""The rows of a sample, whatever it is written in, in the file's order and in bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from hotfire_workers.train.data import columnar, rawrow, stream
from hotfire_workers.train.data.csvrows import csv_rows, delimiter_of
from hotfire_workers.train.data.folders import files_of
from hotfire_workers.train.data.jsonarray import array_rows, inner_list, is_array
from hotfire_workers.train.data.rawrow import RawRow, Reading, excerpt, parse_row
from hotfire_workers.train.data.stream import ByteStream, SampleError, open_bytes, refuse_binary

COLUMNS = frozenset(
    {
        *("messages", "conversations", "prompt", "completion", "chosen", "rejected", "text", "tools"),
        *("instruction", "input", "output", "history", "system", "input_ids", "labels", "attention_mask"),
    }
)
"""Columns of the formats that are known, by which a CSV header and a row are told."""


def read_rows(
    path: Path,
    *,
    reading: Reading | None = None,
    columns: Collection[str] = (),
    as_text: bool = False,
) -> Iterator[RawRow]:
    """Yields every row of the sample that is not blank, in the file's order.

    A row that cannot be read comes with its `problem`, and the rows behind it follow all the same. Reading
    ends behind `stream.MAX_TOTAL_BYTES`; `reading.stopped` says so.

    Args:
        path: A file (JSON Lines, a JSON array, an object with one list, CSV, Parquet, Arrow, lines of text;
            plain, gzip or zstd), or a folder: see `folders`.
        reading: Filled in on the way.
        columns: Names of columns besides those of the known formats.
        as_text: What is neither JSON nor CSV is text, one row a line.

    Raises:
        SampleError: The sample as a whole cannot be read; its text says why and what to do.
    """
    reading = reading if reading is not None else Reading()
    known = COLUMNS | set(columns)
    files = files_of(path, reading.notes)
    reading.num_files = len(files)
    behind = 0
    for file in files:
        last = 0
        for raw in _file_rows(file, reading, known, as_text):
            last = raw.row
            raw.row += behind
            yield raw
        if reading.stopped:
            return
        behind += last


def _file_rows(path: Path, reading: Reading, columns: frozenset[str], as_text: bool) -> Iterator[RawRow]:
    with open_bytes(path) as source:
        head = source.peek()
        is_columnar = columnar.is_columnar(head)
        if not is_columnar:
            refuse_binary(head)
            if not source.skip_blank():
                raise SampleError("The sample is empty. Give a file with at least one row.")
            reading.byte_order_mark |= source.has_byte_order_mark
            yield from _text_rows(path, source, reading, columns, as_text)
            if source.is_stopped:
                reading.stopped = f"the sample has more than {stream.MAX_TOTAL_BYTES >> 20:,} MiB"
    if is_columnar:
        yield from columnar.columnar_rows(path, reading)


def _text_rows(
    path: Path, source: ByteStream, reading: Reading, columns: frozenset[str], as_text: bool
) -> Iterator[RawRow]:
    head = source.peek()
    num_blank = len(head) - len(head.lstrip())
    head = head.lstrip()
    if is_array(head):
        reading.container = "a JSON array"
        source.skip_opening_bracket()
        yield from array_rows(source)
    elif (found := inner_list(head, columns)) is not None:
        reading.container = "a JSON object with a list"
        reading.notes.append(f"the rows are the list {found[0][:40]!r} of the JSON object")
        source.skip(num_blank + found[1])
        yield from array_rows(source)
    elif head.startswith(b"{"):
        reading.container = "JSON Lines"
        if head.partition(b"\n")[0].strip() == b"{":
            raise SampleError(
                "The JSON objects of the sample go over several lines. Give JSON Lines, one whole object per "
                "line, or put the objects into an array."
            )
        yield from _line_rows(source)
    elif (delimiter := delimiter_of(path, head, columns)) is not None:
        reading.container = "CSV"
        yield from csv_rows(source, delimiter)
    elif as_text or ".txt" in path.suffixes:
        reading.container = "lines of text"
        yield from _plain_rows(source)
    else:
        reading.container = "JSON Lines"
        yield from _line_rows(source)


def _line_rows(source: ByteStream) -> Iterator[RawRow]:
    """JSON Lines: the row number is the line number; blank lines count as lines but are no rows."""
    for number, (line, is_whole) in enumerate(source.lines(), start=1):
        if not is_whole:
            yield RawRow(row=number, problem=rawrow.too_long(), excerpt=excerpt(line))
        elif line.strip():
            yield parse_row(number, line)
    if source.broken:
        yield RawRow(row=source.num_lines + 1, problem=source.broken)


def _plain_rows(source: ByteStream) -> Iterator[RawRow]:
    """Text: one row a line, as the `text` loader of `datasets` reads it."""
    for number, (line, is_whole) in enumerate(source.lines(), start=1):
        if not is_whole:
            yield RawRow(row=number, problem=rawrow.too_long(), excerpt=excerpt(line))
        elif line.strip():
            try:
                yield RawRow(row=number, value={"text": line.decode("utf-8").removesuffix("\r")})
            except UnicodeDecodeError as error:
                problem = f"not UTF-8 text: byte 0x{line[error.start]:02x} at byte {error.start + 1}"
                yield RawRow(row=number, problem=problem, excerpt=excerpt(line))
    if source.broken:
        yield RawRow(row=source.num_lines + 1, problem=source.broken)

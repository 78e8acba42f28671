"""Rows of Parquet and Arrow files, a few at a time.

pyarrow starts threads, so it is imported here and not before: only the preparation's own process has them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hotfire_workers.train.data import rawrow, stream
from hotfire_workers.train.data.guard import memory_limit
from hotfire_workers.train.data.rawrow import RawRow, Reading
from hotfire_workers.train.data.stream import ByteStream, SampleError, open_bytes

PARQUET = b"PAR1"
ARROW_FILE = b"ARROW1"
ARROW_STREAM = b"\xff\xff\xff\xff"
"""How an Arrow stream begins: `datasets.save_to_disk` writes these."""
_BATCH_BYTES = 4 << 20
_MAX_BATCH_ROWS = 512
_MEMORY_BYTES = 2 << 30
"""What decoding one batch may take besides. A page names its own size, and a few kilobytes can name any.

Where something loaded pyarrow earlier, half of it goes to what its memory pool reserves.
"""


def is_columnar(head: bytes) -> bool:
    """Whether a file with these first bytes is Parquet or Arrow."""
    return head.startswith((PARQUET, ARROW_FILE, ARROW_STREAM))


def columnar_rows(path: Path, reading: Reading) -> Iterator[RawRow]:
    """Yields the rows of one file; part of a file that cannot be read costs no other part.

    Raises:
        SampleError: pyarrow is not installed, or nothing of the file can be read.
    """
    # The other pools reserve a gigabyte of address space at once, which no limit could tell from a bomb. This
    # one must be named before the library is loaded; set_memory_pool does not reach all of it.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        import pyarrow as pa
    except ImportError as error:
        raise SampleError(
            "The sample is a Parquet or Arrow file and this environment lacks the package pyarrow. Install "
            "it (pip install pyarrow), or give JSON Lines."
        ) from error
    pa.set_memory_pool(pa.system_memory_pool())
    pa.set_cpu_count(1)  # each thread's arena is 128 MiB of address space
    pa.set_io_thread_count(1)
    try:
        with open_bytes(path) as source:
            yield from _opened_rows(path, source, reading)
    except SampleError:
        raise
    except (OSError, ValueError, KeyError, IndexError, OverflowError, MemoryError) as error:
        # Damage that the readers themselves do not expect, in the names of columns for one.
        raise SampleError(_unreadable(reading.container or "table", _words(error))) from error


def _opened_rows(path: Path, source: ByteStream, reading: Reading) -> Iterator[RawRow]:
    head = source.peek()
    reading.container = "Parquet" if head.startswith(PARQUET) else "Arrow"
    if head.startswith(ARROW_STREAM):
        yield from _stream_rows(source)
        return
    rows = _parquet_rows if head.startswith(PARQUET) else _file_rows
    if not stream.is_compressed(path):
        with path.open("rb") as file:
            yield from rows(file)
        return
    with tempfile.TemporaryFile() as whole:  # it is read from both ends
        shutil.copyfileobj(_Readable(source), whole)
        if source.is_stopped or source.broken:
            why = source.broken or "it is too large to be unpacked"
            raise SampleError(_unreadable(reading.container, why))
        yield from rows(whole)


class _Readable:
    """A stream for readers that ask for so many bytes and take fewer for the end."""

    def __init__(self, source: ByteStream):
        self._source = source
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        parts, missing = [], size
        while (size < 0 or missing > 0) and (part := self._source.read1(missing if size >= 0 else 1 << 20)):
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


# ---- Parquet ---------------------------------------------------------------------------------------------


def _parquet_rows(file: Any) -> Iterator[RawRow]:
    import pyarrow.parquet

    try:
        with memory_limit(_MEMORY_BYTES):
            # Without the limits a footer of a few bytes could name strings of gigabytes.
            opened = pyarrow.parquet.ParquetFile(
                file,
                pre_buffer=False,
                buffer_size=1 << 20,
                thrift_string_size_limit=64 << 20,
                thrift_container_size_limit=1 << 20,
            )
    except (OSError, ValueError, MemoryError) as error:
        raise SampleError(_unreadable("Parquet", _words(error))) from error
    number = 0
    for group in range(opened.metadata.num_row_groups):
        facts = opened.metadata.row_group(group)
        before = number
        try:
            for batch in _parquet_batches(opened, group, facts):
                yield from _rows(batch, number + 1)
                number += batch.num_rows
        except (OSError, ValueError, MemoryError) as error:
            problem = f"this and the rows behind it in row group {group + 1} cannot be read: {_words(error)}"
            yield RawRow(row=number + 1, problem=problem)
            number = before + max(1, min(facts.num_rows, 1 << 40))


def _parquet_batches(opened: Any, group: int, facts: Any) -> Iterator[Any]:
    average = max(1, facts.total_byte_size // max(1, facts.num_rows))
    batches = opened.iter_batches(
        batch_size=max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES // average)),
        row_groups=[group],
        use_threads=False,
    )
    while True:
        with memory_limit(_MEMORY_BYTES):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


# ---- Arrow -----------------------------------------------------------------------------------------------


def _file_rows(file: Any) -> Iterator[RawRow]:
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(file)
    except (OSError, ValueError) as error:
        raise SampleError(_unreadable("Arrow", _words(error))) from error
    yield from _batch_rows(reader.get_batch(i) for i in range(reader.num_record_batches))


def _stream_rows(source: ByteStream) -> Iterator[RawRow]:
    import pyarrow as pa

    try:
        reader = pa.ipc.open_stream(pa.PythonFile(_Readable(source), mode="r"))
    except (OSError, ValueError, MemoryError) as error:
        raise SampleError(_unreadable("Arrow", _words(error))) from error
    yield from _batch_rows(iter(reader), lambda: source.is_stopped)


def _batch_rows(batches: Iterator[Any], is_stopped: Any = bool) -> Iterator[RawRow]:
    number = 0
    while True:
        try:
            with memory_limit(_MEMORY_BYTES):
                batch = next(batches, None)
                if batch is not None:
                    # Offsets come from the file as they are: a wrong one would be read beyond the end.
                    batch.validate(full=True)
        except (OSError, ValueError, MemoryError) as error:
            if not is_stopped():
                problem = f"this and the rows behind it cannot be read: {_words(error)}"
                yield RawRow(row=number + 1, problem=problem)
            return
        if batch is None:
            return
        for start in range(0, batch.num_rows, _MAX_BATCH_ROWS):
            yield from _rows(batch.slice(start, _MAX_BATCH_ROWS), number + 1 + start)
        number += batch.num_rows


# ---- Both ------------------------------------------------------------------------------------------------


def _rows(batch: Any, first: int) -> Iterator[RawRow]:
    """The rows of a batch as Python values, one by one where the batch is large or a value cannot be had."""
    if twice := {name for name in batch.schema.names if batch.schema.names.count(name) > 1}:
        raise SampleError(f"The sample has two columns of one name: {', '.join(sorted(twice))[:100]}.")
    if batch.nbytes <= stream.MAX_ROW_BYTES:
        with contextlib.suppress(ValueError, OverflowError, MemoryError):
            for i, value in enumerate(batch.to_pylist()):
                yield RawRow(row=first + i, value=value)
            return
    for i in range(batch.num_rows):
        yield _row(batch.slice(i, 1), first + i)


def _row(piece: Any, number: int) -> RawRow:
    if piece.nbytes > stream.MAX_ROW_BYTES:
        return RawRow(row=number, problem=rawrow.too_long())
    try:
        return RawRow(row=number, value=piece.to_pylist()[0])
    except (
        ValueError,
        OverflowError,
        MemoryError,
    ) as error:  # a text that is no UTF-8, a date beyond all dates
        return RawRow(row=number, problem=f"a value of the row cannot be used: {_words(error)}")


def _words(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"it needs more than {_MEMORY_BYTES >> 30} GiB of memory once it is decoded"
    if isinstance(error, UnicodeDecodeError):
        return "a text is not UTF-8"
    return f"damaged or no longer whole ({type(error).__name__})"


def _unreadable(kind: str, why: str) -> str:
    return f"The {kind} file cannot be read: {why}. Write it again."

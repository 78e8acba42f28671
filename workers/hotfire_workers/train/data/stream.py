"""The bytes of a sample file: what kind of file it is, decompressed, in bounded memory."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

MAX_ROW_BYTES = 16 << 20
"""A longer row is rejected."""
_BLOCK_BYTES = 1 << 18
MAX_TOTAL_BYTES = 1 << 30
"""Of one sample, decompressed: nothing beyond this is read. It bounds a decompression bomb, and the time."""

_BINARY = {
    b"PK\x03\x04": "a zip archive (or an Excel sheet)",
    b"SQLite format 3": "an SQLite database",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"%PDF": "a PDF document",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"GGUF": "a GGUF model",
    b"\x80\x02": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
REMEDY = (
    "Give JSON Lines (one JSON object per line, UTF-8), JSON, CSV or Parquet, plain, gzip or zstd, or a folder "
    "that datasets.save_to_disk wrote."
)
_LFS = b"version https://git-lfs.github.com/spec/"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


class SampleError(ValueError):
    """The sample as a whole cannot be read. The text says why and what to do; it holds no row text."""


class _Source(Protocol):
    """What is read from: at most one read of the underlying file, so that nothing is lost before an error."""

    def read1(self, size: int, /) -> bytes: ...


class ByteStream:
    """A sample's bytes, decompressed.

    Attributes:
        broken: Why they ended before their end, if they did.
        is_stopped: More than `MAX_TOTAL_BYTES`: the rest is not read.
        has_byte_order_mark: One came first.
        num_lines: Lines read so far.
    """

    def __init__(self, source: _Source):
        self._source = source
        self._ahead = b""
        self._num_bytes = 0
        self.broken: str | None = None
        self.is_stopped = False
        self.has_byte_order_mark = False
        self.num_lines = 0

    def block(self) -> bytes:
        """The next bytes; empty at the end."""
        if self._ahead:
            block, self._ahead = self._ahead, b""
            return block
        if self.broken or self.is_stopped:
            return b""
        try:
            block = self._source.read1(_BLOCK_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile, OSError) as error:
            self.broken = f"the compressed file is cut off or damaged here ({type(error).__name__})"
            return b""
        except Exception as error:
            if type(error).__name__ != "ZstdError":  # its module is there only where zstd is used
                raise
            self.broken = "the compressed file is cut off or damaged here (ZstdError)"
            return b""
        self._num_bytes += len(block)
        if self._num_bytes > MAX_TOTAL_BYTES:
            self.is_stopped = True
            return b""
        return block

    def peek(self) -> bytes:
        """The next bytes, without taking them."""
        if not self._ahead:
            self._ahead = self.block()
        return self._ahead

    def skip_blank(self) -> bool:
        """Skips white space and a byte-order mark that come first; False if nothing else is there."""
        num_line_ends = 0
        while block := self.block():
            self.has_byte_order_mark |= block.startswith(_BYTE_ORDER_MARK)
            rest = block.removeprefix(_BYTE_ORDER_MARK).lstrip()
            num_line_ends += block[: len(block) - len(rest)].count(b"\n")
            if rest:
                self._ahead = b"\n" * num_line_ends + rest  # so that line numbers stay right
                return True
        return False

    def skip_opening_bracket(self) -> None:
        """Takes everything up to and with the first `[`."""
        self._ahead = self.block().partition(b"[")[2]

    def skip(self, num_bytes: int) -> None:
        """Takes so many of the next bytes; no more than `peek` shows."""
        self._ahead = self.block()[num_bytes:]

    def read1(self, size: int, /) -> bytes:
        """Some of the next bytes, as a file gives them."""
        block = self.block()
        self._ahead = block[size:] if size >= 0 else b""
        return block[:size] if size >= 0 else block

    def lines(self) -> Iterator[tuple[bytes, bool]]:
        """Yields (line without its end, whether that is the whole line)."""
        rest, is_whole = b"", True
        while block := self.block():
            *whole, rest_of_block = block.split(b"\n")
            for line in whole:
                self.num_lines += 1
                line, rest = rest + line, b""
                yield line[:MAX_ROW_BYTES], is_whole and len(line) <= MAX_ROW_BYTES
                is_whole = True
            rest += rest_of_block
            if len(rest) > MAX_ROW_BYTES:
                rest, is_whole = rest[:MAX_ROW_BYTES], False
        if rest and not self.is_stopped:
            self.num_lines += 1
            yield rest, is_whole


@contextmanager
def open_bytes(path: Path) -> Iterator[ByteStream]:
    """Opens one file, decompressed.

    Raises:
        SampleError: It cannot be opened, is empty, or is nothing that holds rows.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise SampleError(f"The sample cannot be opened: {error.strerror}.") from error
    with file:
        stream = ByteStream(_decompressed(file))
        head = stream.peek()
        if stream.broken and not head:
            raise SampleError(f"The sample cannot be read: {stream.broken}. Copy the file again.")
        if not head:
            raise SampleError(f"The sample is empty. {REMEDY}")
        yield stream


def is_compressed(path: Path) -> bool:
    """Whether the file begins as gzip or zstd does."""
    with path.open("rb") as file:
        magic = file.read(4)
    return magic[:2] == _GZIP or magic == _ZSTD


def _decompressed(file: io.BufferedReader) -> _Source:
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == _GZIP:
        return gzip.GzipFile(fileobj=file)
    if magic == _ZSTD:
        try:
            import zstandard
        except ImportError as error:
            raise SampleError(
                "The sample is zstd-compressed and this environment lacks the package zstandard. "
                "Install it, or give gzip or a plain file."
            ) from error
        return zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
            file, read_across_frames=True
        )
    return file


def refuse_binary(head: bytes) -> None:
    """Raises `SampleError` where the first bytes are those of no text.

    A NUL byte alone does not make a file that begins as JSON binary: its row is rejected, the others are read.
    """
    for magic, what in _BINARY.items():
        if head.startswith(magic):
            raise SampleError(f"The sample is {what}, not rows. {REMEDY}")
    if head.startswith(_LFS):
        raise SampleError(
            "The sample is a Git LFS pointer, not the file itself. Run `git lfs pull` and give the file."
        )
    text = head.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if b"\0" in head[:65536] and (not text.startswith((b"{", b"[")) or head.count(b"\0") > len(head) // 4):
        raise SampleError(f"The sample is a binary file, not rows. {REMEDY}")

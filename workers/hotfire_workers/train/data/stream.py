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
_MAX_TOTAL_BYTES = 4 << 30
"""Nothing beyond this is read: it bounds a decompression bomb."""

_BINARY = {
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"PK\x03\x04": "a zip archive",
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
_REMEDY = "Give JSON Lines (one JSON object per line, UTF-8) or a JSON array, plain, gzip or zstd."
_LFS = b"version https://git-lfs.github.com/spec/"


class SampleError(ValueError):
    """The sample as a whole cannot be read. The text says why and what to do; it holds no row text."""


class _Source(Protocol):
    """What is read from: at most one read of the underlying file, so that nothing is lost before an error."""

    def read1(self, size: int, /) -> bytes: ...


class ByteStream:
    """A sample's bytes, decompressed. `broken` says why they ended before their end, if they did."""

    def __init__(self, source: _Source):
        self._source = source
        self._ahead = b""
        self._num_bytes = 0
        self.broken: str | None = None
        self.num_lines = 0

    def block(self) -> bytes:
        """The next bytes; empty at the end."""
        if self._ahead:
            block, self._ahead = self._ahead, b""
            return block
        if self.broken:
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
        if self._num_bytes > _MAX_TOTAL_BYTES:
            self.broken = (
                f"the sample is larger than {_MAX_TOTAL_BYTES >> 30} GiB: nothing behind this was read"
            )
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
            rest = block.removeprefix(b"\xef\xbb\xbf").lstrip()
            num_line_ends += block[: len(block) - len(rest)].count(b"\n")
            if rest:
                self._ahead = b"\n" * num_line_ends + rest  # so that line numbers stay right
                return True
        return False

    def skip_opening_bracket(self) -> None:
        """Takes everything up to and with the first `[`."""
        self._ahead = self.block().partition(b"[")[2]

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
        if rest:
            self.num_lines += 1
            yield rest, is_whole


@contextmanager
def open_sample(path: Path) -> Iterator[ByteStream]:
    """Opens a sample and sees to it that it is text.

    Raises:
        SampleError: It is missing, empty or not text.
    """
    path = _the_file(path)
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
            raise SampleError(f"The sample is empty. {_REMEDY}")
        _refuse_binary(head)
        yield stream


def _the_file(path: Path) -> Path:
    if not path.exists():
        raise SampleError(
            f"The sample {path.name!r} does not exist on this worker. Check data.uri or upload the file."
        )
    if not path.is_dir():
        return path
    found = sorted(
        p for p in path.rglob("*") if p.is_file() and {".jsonl", ".json", ".ndjson"} & set(p.suffixes)
    )
    if len(found) != 1:
        what = f"holds {len(found)} files with rows" if found else "holds no .jsonl or .json file"
        raise SampleError(f"The sample is a folder that {what}. Name one file in data.uri. {_REMEDY}")
    return found[0]


def _decompressed(file: io.BufferedReader) -> _Source:
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=file)
    if magic == b"\x28\xb5\x2f\xfd":
        try:
            import zstandard
        except ImportError as error:
            raise SampleError(
                "The sample is zstd-compressed and this environment lacks the package zstandard. "
                "Install it, or give gzip or plain JSON Lines."
            ) from error
        return zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
            file, read_across_frames=True
        )
    return file


def _refuse_binary(head: bytes) -> None:
    for magic, what in _BINARY.items():
        if head.startswith(magic):
            raise SampleError(f"The sample is {what}, not rows of JSON. {_REMEDY}")
    if head.startswith(_LFS):
        raise SampleError(
            "The sample is a Git LFS pointer, not the file itself. Run `git lfs pull` and give the file."
        )
    if b"\0" in head[:65536]:
        raise SampleError(f"The sample is a binary file, not rows of JSON. {_REMEDY}")

"""The sample as the worker itself reads it: only to know how long its rows are, and what must not be repeated."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hotfire_service.store import archives
from hotfire_service.store.errors import ArtifactError

_MAX_ROWS = 20_000
_MAX_BYTES = 64 * 2**20
_BYTES_PER_TOKEN = 2
"""At least; so a row has at most so many tokens."""
_DEFAULT_LENGTH = 2048
"""Of the longest row, where the file does not show it."""
_COLUMNAR = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")


def longest_row_tokens(path: str | None, max_length: int | None) -> int:
    """An upper bound of the tokens of the longest row, from its bytes; `max_length` where that is less."""
    default = _DEFAULT_LENGTH * _BYTES_PER_TOKEN
    longest = max(_row_sizes(path), default=default)
    bound = max(1, longest // _BYTES_PER_TOKEN)
    return min(bound, max_length) if max_length and max_length > 0 else bound


def _row_sizes(path: str | None) -> Iterator[int]:
    """Bytes of the rows, where the file shows them: lines, or the elements of a JSON array."""
    lines = list(_lines(path))
    head = lines[0].lstrip(b"\xef\xbb\xbf \t\r") if lines else b""
    if head.startswith(_COLUMNAR):
        return
    if not head.startswith(b"["):
        yield from map(len, lines)
        return
    try:
        elements = json.loads(b"\n".join(lines))
    except (ValueError, RecursionError):
        return
    for element in elements if isinstance(elements, list) else ():
        yield len(json.dumps(element, ensure_ascii=False).encode("utf-8", "replace"))


def private_texts(path: str | None, *, min_length: int) -> list[str]:
    """Every text in the sample's rows with at least so many characters."""
    found: dict[str, None] = {}
    for line in _lines(path):
        try:
            value = json.loads(line)
        except ValueError:
            text = line.decode("utf-8", errors="replace").strip()
            found.update(dict.fromkeys([text] if len(text) >= min_length else []))
            continue
        for text in _texts(value):
            if len(text) >= min_length:
                found[text] = None
    return list(found)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _lines(path: str | None) -> Iterator[bytes]:
    """The first lines of the file, decompressed; nothing where it is no readable file."""
    if path is None or not Path(path).is_file():
        return
    rest, count, size = b"", 0, 0
    try:
        with Path(path).open("rb") as file:
            for block in archives.decompressed(file, max_bytes=_MAX_BYTES, tolerate_damage=True):
                size += len(block)
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    yield line
                    count += 1
                if count >= _MAX_ROWS or size >= _MAX_BYTES:
                    return
    except (OSError, ArtifactError, io.UnsupportedOperation):
        return
    if rest:
        yield rest

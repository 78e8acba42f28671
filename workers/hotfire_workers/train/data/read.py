"""The rows of a sample file: JSON Lines or a JSON array, plain, gzip or zstd, in bounded memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotfire_workers.train.data.stream import MAX_ROW_BYTES, ByteStream, SampleError, open_sample

_EXCERPT_CHARACTERS = 160
_ENDS_EARLY = "the file ends in the middle of this row"


@dataclass(kw_only=True, slots=True)
class RawRow:
    """One row as it stands in the file."""

    row: int
    """Line of a JSON Lines file, or place in a JSON array, from 1."""
    value: dict[str, Any] | None = None
    """None: the row cannot be read."""
    problem: str | None = None
    """Why, without the row's text."""
    excerpt: str | None = None
    """Its first characters."""


def read_rows(path: Path) -> Iterator[RawRow]:
    """Yields every row of the sample that is not blank, in the file's order.

    A row that cannot be read comes with its `problem`, and the rows behind it follow all the same.

    Args:
        path: A file (JSON Lines or a JSON array; plain, gzip or zstd), or a folder that holds exactly one.

    Raises:
        SampleError: The sample as a whole cannot be read; its text says why and what to do.
    """
    with open_sample(path) as stream:
        if not stream.skip_blank():
            raise SampleError(
                "The sample is empty. Give a file with at least one row, one JSON object per line."
            )
        yield from _array_rows(stream) if _is_array(stream.peek().lstrip()) else _line_rows(stream)


def _is_array(head: bytes) -> bool:
    """A JSON array, or JSON Lines whose first line happens to begin with a bracket?"""
    if not head.startswith(b"["):
        return False
    first, _, rest = head.partition(b"\n")
    second = rest.lstrip().partition(b"\n")[0].strip()
    return first.strip() == b"[" or not (second.startswith(b"{") and _row(2, second).problem is None)


def _line_rows(stream: ByteStream) -> Iterator[RawRow]:
    """JSON Lines: the row number is the line number; blank lines count as lines but are no rows."""
    for number, (line, is_whole) in enumerate(stream.lines(), start=1):
        if not is_whole:
            yield RawRow(row=number, problem=_too_long(), excerpt=excerpt(line))
        elif line.strip():
            yield _row(number, line)
    if stream.broken:
        yield RawRow(row=stream.num_lines + 1, problem=stream.broken)


def _row(number: int, raw: bytes) -> RawRow:
    """Parses one row; never raises."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 text: byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the row"
        return RawRow(row=number, problem=problem, excerpt=excerpt(raw))
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"not valid JSON: {error.msg} (character {error.pos + 1} of the row)"
        return RawRow(row=number, problem=problem, excerpt=excerpt(raw))
    except (RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "a number with too many digits"
        return RawRow(row=number, problem=f"not usable JSON: {reason}", excerpt=excerpt(raw))
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a text", type(None): "null"}.get(
            type(value), "a number or a truth value"
        )
        return RawRow(row=number, problem=f"the row is {kind}, not a JSON object", excerpt=excerpt(raw))
    return RawRow(row=number, value=value)


def excerpt(raw: bytes | str) -> str:
    """First characters of a row, fit for any encoder."""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    return text.strip()[:_EXCERPT_CHARACTERS].encode("utf-8", "replace").decode("utf-8")


def _too_long() -> str:
    return f"longer than {MAX_ROW_BYTES >> 20} MiB"


# ---- a JSON array ----------------------------------------------------------------------------------------

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]|"', re.DOTALL)


def _array_rows(stream: ByteStream) -> Iterator[RawRow]:
    """A JSON array: the row number is the element's place.

    Elements are cut out by counting brackets outside of strings, so that one malformed element does not take
    the others with it.
    """
    number = 0
    for element, end in _elements(stream):
        if end == "," or element.strip():
            number += 1
            if end == "long":
                yield RawRow(row=number, problem=_too_long(), excerpt=excerpt(element))
            elif end == "end":
                yield RawRow(row=number, problem=stream.broken or _ENDS_EARLY, excerpt=excerpt(element))
            elif not element.strip():
                yield RawRow(row=number, problem="an empty element: two commas in a row")
            else:
                yield _row(number, element.strip())


def _elements(stream: ByteStream) -> Iterator[tuple[bytes, str]]:
    """Yields (bytes of an element, what ended it: "," or "]" or "end" of the file or "long")."""
    buffer = bytearray()
    stream.skip_opening_bracket()
    scanned, depth, is_too_long = 0, 0, False
    while True:
        block = stream.block()
        buffer += block
        start = 0
        while match := _TOKEN.search(buffer, scanned):
            token = match.group()
            if token == b'"':  # a string that goes on beyond what has been read
                if block:
                    scanned = match.start()
                    break
                scanned = match.end()
                continue
            scanned = match.end()
            if token in (b"{", b"["):
                depth += 1
            elif depth and token in (b"}", b"]"):
                depth -= 1
            elif not depth and token in (b",", b"]"):
                element = bytes(buffer[start : match.start()])
                yield element[:MAX_ROW_BYTES], "long" if is_too_long else token.decode()
                start, is_too_long = scanned, False
                if token == b"]":
                    return
        else:
            scanned = max(scanned, len(buffer))
        del buffer[:start]
        scanned -= start
        if len(buffer) - scanned > MAX_ROW_BYTES:  # one endless string: its end is not looked for
            yield bytes(buffer[:_EXCERPT_CHARACTERS]), "long"
            return
        if len(buffer) > MAX_ROW_BYTES:  # keep its beginning for the excerpt, forget the rest as it comes
            is_too_long = True
            del buffer[_EXCERPT_CHARACTERS:scanned]
            scanned = min(scanned, _EXCERPT_CHARACTERS)
        if not block:
            if buffer.strip():
                yield bytes(buffer), "end"
            return

"""Rows of a JSON array, streamed: the whole file, or the one list inside a JSON object."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from hotfire_workers.train.data import rawrow, stream
from hotfire_workers.train.data.rawrow import RawRow, excerpt, parse_row
from hotfire_workers.train.data.stream import ByteStream

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]|"', re.DOTALL)
_PEEK_BYTES = 4096
_ENDS_EARLY = "the file ends in the middle of this row"


def is_array(head: bytes) -> bool:
    """A JSON array, or JSON Lines whose first line happens to begin with a bracket?"""
    if not head.startswith(b"["):
        return False
    first, _, rest = head.partition(b"\n")
    second = rest.lstrip().partition(b"\n")[0].strip()
    return first.strip() == b"[" or not (second.startswith(b"{") and parse_row(2, second).problem is None)


def inner_list(head: bytes, columns: Collection[str]) -> tuple[str, int] | None:
    """Finds the list of rows in a JSON object such as {"version": 1, "data": [{...}, ...]}.

    Args:
        head: The first bytes of the file.
        columns: Columns that rows have: an object with one of them is a row itself, and the first rows of the
            list must have one.

    Returns:
        (its key, where in `head` the list's content begins), or None: this is no such object.
    """
    first = head.partition(b"\n")[0].strip()
    if not head.startswith(b"{") or (
        len(first) < len(head.strip()) and parse_row(1, first).value is not None
    ):
        return None  # the first line is a whole object: JSON Lines
    depth, key = 0, b""
    for match in _TOKEN.finditer(head):
        token = match.group()
        if token in (b"{", b"["):
            if token == b"[" and depth == 1 and head[match.end() :].lstrip()[:1] == b"{":
                name, content = key.decode("utf-8", "replace"), head[match.end() : match.end() + _PEEK_BYTES]
                is_rows = any(f'"{column}"'.encode() in content for column in columns)
                return (name, match.end()) if is_rows and name not in columns else None
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return None
        elif depth == 1 and len(token) > 1 and head[match.end() :].lstrip()[:1] == b":":
            key = token[1:-1]
            if key.decode("utf-8", "replace") in columns:
                return None
    return None


def array_rows(source: ByteStream) -> Iterator[RawRow]:
    """A JSON array: the row number is the element's place.

    Elements are cut out by counting brackets outside of strings, so that one malformed element does not take
    the others with it.

    Args:
        source: Behind the list's opening bracket.
    """
    number = 0
    for element, end in _elements(source):
        if end == "," or element.strip():
            number += 1
            if end == "long":
                yield RawRow(row=number, problem=rawrow.too_long(), excerpt=excerpt(element))
            elif end == "end":
                yield RawRow(row=number, problem=source.broken or _ENDS_EARLY, excerpt=excerpt(element))
            elif not element.strip():
                yield RawRow(row=number, problem="an empty element: two commas in a row")
            else:
                yield parse_row(number, element.strip())


def _elements(source: ByteStream) -> Iterator[tuple[bytes, str]]:
    """Yields (bytes of an element, what ended it: "," or "]" or "end" of the file or "long")."""
    buffer = bytearray()
    scanned, depth, is_too_long = 0, 0, False
    while True:
        block = source.block()
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
                yield element[: stream.MAX_ROW_BYTES], "long" if is_too_long else token.decode()
                start, is_too_long = scanned, False
                if token == b"]":
                    return
        else:
            scanned = max(scanned, len(buffer))
        del buffer[:start]
        scanned -= start
        if len(buffer) - scanned > stream.MAX_ROW_BYTES:  # one endless string: its end is not looked for
            yield bytes(buffer[: rawrow.EXCERPT_CHARACTERS]), "long"
            return
        if (
            len(buffer) > stream.MAX_ROW_BYTES
        ):  # keep its beginning for the excerpt, forget the rest as it comes
            is_too_long = True
            del buffer[rawrow.EXCERPT_CHARACTERS : scanned]
            scanned = min(scanned, rawrow.EXCERPT_CHARACTERS)
        if not block:
            if buffer.strip() and not source.is_stopped:
                yield bytes(buffer), "end"
            return

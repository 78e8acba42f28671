"""One row as it stands in a file, whatever kind of file that is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hotfire_workers.train.data import stream

EXCERPT_CHARACTERS = 160


@dataclass(kw_only=True, slots=True)
class RawRow:
    """One row as it stands in the file."""

    row: int
    """Line of a JSON Lines file; else its place among the rows, from 1."""
    value: dict[str, Any] | None = None
    """None: the row cannot be read."""
    problem: str | None = None
    """Why, without the row's text."""
    excerpt: str | None = None
    """Its first characters."""


@dataclass(kw_only=True, slots=True)
class Reading:
    """What becomes known of a file while it is read."""

    container: str | None = None
    """Such as "JSON Lines" or "Parquet"."""
    num_files: int = 1
    byte_order_mark: bool = False
    stopped: str | None = None
    """Why the rest was not read; None: all of it was."""
    notes: list[str] = field(default_factory=list)


def parse_row(number: int, raw: bytes) -> RawRow:
    """Parses one JSON object; never raises."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 text: byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the row"
        return RawRow(row=number, problem=problem, excerpt=excerpt(raw))
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return RawRow(row=number, problem=_not_json(text, error), excerpt=excerpt(raw))
    except (RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "a number with too many digits"
        return RawRow(row=number, problem=f"not usable JSON: {reason}", excerpt=excerpt(raw))
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a text", type(None): "null"}.get(
            type(value), "a number or a truth value"
        )
        return RawRow(row=number, problem=f"the row is {kind}, not a JSON object", excerpt=excerpt(raw))
    return RawRow(row=number, value=value)


def _not_json(text: str, error: json.JSONDecodeError) -> str:
    if text.startswith("\ufeff"):
        return "a byte-order mark stands before the row: files were joined; remove it"
    if "\0" in text:
        return "the row holds NUL bytes: the file was cut off while it was written, or is no text"
    words = f"not valid JSON: {error.msg} (character {error.pos + 1} of the row)"
    # The decoder tells a text without an end from its beginning; both mean that the end is missing.
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        words += ": the row ends in the middle, it was cut off"
    return words


def excerpt(raw: bytes | str) -> str:
    """First characters of a row, fit for any encoder."""
    text = raw[: 8 * EXCERPT_CHARACTERS].decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    return text.strip()[:EXCERPT_CHARACTERS].encode("utf-8", "replace").decode("utf-8")


def too_long() -> str:
    """The problem of a row that is not looked at."""
    return f"longer than {stream.MAX_ROW_BYTES >> 20} MiB"

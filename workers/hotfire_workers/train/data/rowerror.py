"""Why one row cannot be used, in words that hold nothing of the row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RowError(ValueError):
    """One row cannot be used. `kind` is that of `RejectedRow`; the text holds nothing of the row."""

    def __init__(self, reason: str, *, kind: str = "malformed"):
        super().__init__(reason)
        self.kind = kind


def encodable(text: str, name: str) -> str:
    """The text, if it is one: tokenizers refuse half of a surrogate pair (from an escape cut in two).

    Raises:
        RowError: It is none.
    """
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowError(f"{name} holds half of a surrogate pair at character {error.start + 1}") from error
    return text


def names_of(value: Mapping[str, Any]) -> str:
    """The fields of a row or a turn."""
    return ", ".join(repr(str(key)[:40]) for key in list(value)[:8]) or "no fields"


def kind_of(value: Any) -> str:
    """What a value is, in a word."""
    if isinstance(value, bool):
        return "true or false"
    return {
        dict: "an object",
        list: "a list",
        str: "a text",
        bytes: "bytes",
        type(None): "null",
        int: "a number",
        float: "a number",
    }.get(type(value), f"a {type(value).__name__}")

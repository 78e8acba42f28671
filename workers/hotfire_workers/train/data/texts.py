"""Texts of rows that may come up in an error: the worker cuts them out of what leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_MAX_CHARACTERS = 16 << 20
_MIN_LENGTH = 24
"""Shorter texts may stand anywhere by chance."""


class Texts:
    """Collects the texts of rows, as many as are bounded.

    Attributes:
        lines: The texts of one row each.
    """

    def __init__(self) -> None:
        self.lines: list[list[str]] = []
        self._num_characters = 0

    def add(self, value: Any) -> None:
        """The value of a row."""
        if self._num_characters >= _MAX_CHARACTERS:
            return
        if texts := [text[:_MAX_CHARACTERS] for text in _texts(value) if len(text) >= _MIN_LENGTH]:
            self._num_characters += sum(map(len, texts))
            self.lines.append(texts)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list) and not (value and isinstance(value[0], int)):
        for item in value:
            yield from _texts(item)

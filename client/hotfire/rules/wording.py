"""Small pieces of text that every rule needs, so that all findings speak alike."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

_SENTENCE_END = re.compile(r"(?<=[\w)\]%'\"])\.\s+(?=[A-Z0-9\"'/])")


def percent(part: float, whole: float) -> str:
    """A share: "30 %", "0.4 %"; "0 %" of nothing."""
    share = 100 * part / whole if whole else 0.0
    return f"{share:.0f} %" if share >= 10 or share == 0 else f"{share:.1f} %"


def number(value: float | None) -> str:
    """A measured number, four digits: 0.9065, 6.267, 1e-05, nan."""
    if value is None:
        return "not measured"
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e15):
        return str(int(value))
    return f"{value:.4g}"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Number and noun: "1 row", "3 rows"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def listed(values: Iterable[object], *, limit: int = 5) -> str:
    """The first few: "3, 7, 9 and 14 more"."""
    items = [str(value) for value in values]
    shown = ", ".join(items[:limit])
    rest = len(items) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown


def clause(text: str) -> str:
    """A sentence as a part of another: its first letter small, unless it begins with a name such as ZeRO."""
    word = text.split(" ", 1)[0]
    return text[:1].lower() + text[1:] if word[1:] == word[1:].lower() else text


def first_sentence(text: str) -> str:
    """The first sentence of a message, without its full stop: by custom the cause."""
    return _SENTENCE_END.split(text.strip(), maxsplit=1)[0].rstrip(".")

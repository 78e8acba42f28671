"""Does a value fit a key? As pydantic 2 answers (in its lax mode, as DeepSpeed uses it), or its place of use.

Measured with pydantic 2.14: text that spells a number, true for 1 and 1 for true are taken; "5e8" is no whole
number; 1e9 is; 0.5 is not; the words on, yes, t, y and 1 are true.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from hotfire.dsconfig.schema_keys import Key
from hotfire.dsconfig.versions import Version, parse

_TRUE = ("1", "on", "t", "true", "y", "yes")
_FALSE = ("0", "off", "f", "false", "n", "no")
_WHOLE = re.compile(r"\s*[+-]?\d+(_\d+)*(\.0+)?\s*")
_LARGEST_FLOAT = 2.0**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A value that does not fit its key."""

    refused: bool
    """DeepSpeed raises. Otherwise it takes the value as `taken`."""
    expected: str
    """What the key wants: "a whole number"."""
    taken: Any = None
    """What the value becomes, where it is not refused."""
    better: Any = None
    """The value that was probably meant; None where that cannot be told."""
    range: bool = False
    """The type is right and the value is not."""


def plain(value: Any) -> str:
    """A value as it stands in JSON, short."""
    shown = {True: "true", False: "false", None: "null"}.get(value) if _is_word(value) else None
    text = shown or (f'"{value}"' if isinstance(value, str) else str(value))
    return text if len(text) <= 60 else text[:57] + "..."


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def check_strict(key: Key, value: Any, version: Version) -> Misfit | None:
    """The value of a key in a section that DeepSpeed checks with pydantic; None: it fits."""
    if value is None:
        return None if key.nullable or key.kind == "any" else _refuse(key, "null")
    match key.kind:
        case "bool":
            return _bool(value)
        case "int":
            return _int(key, value, version)
        case "float":
            return _float(key, value, version)
        case "str":
            return None if isinstance(value, str) else _refuse(key, value)
        case "choice":
            return _choice(key, value)
        case "list":
            return _list(key, value)
        case "names":
            fits = isinstance(value, str) or _are_names(value)
            return None if fits else Misfit(refused=True, expected="a list of names")
        case "dict" | "section":
            return None if isinstance(value, dict) else _refuse(key, value)
        case "none":
            return Misfit(refused=True, expected="nothing: no JSON value can be given for it")
        case _:
            return None


def check_used(key: Key, value: Any, *, crashes: bool) -> Misfit | None:
    """The value of a key that nothing checks until it is used.

    Args:
        key: The key.
        value: Its value; null counts as not given.
        crashes: Using text there raises a TypeError (numbers that are compared or multiplied).
    """
    if value is None:
        used = key.kind in ("section", "choice") or (key.kind == "bool" and crashes)
        return _refuse(key, value) if used and not key.nullable else None
    match key.kind:
        case "section" | "dict":
            return None if isinstance(value, dict) else _refuse(key, value)
        case "int" | "float" if isinstance(value, bool):
            return Misfit(refused=crashes and not value, expected=_expected(key), taken=int(value))
        case "int" | "float" if not isinstance(value, int | float):
            better = _parsed(value)
            if key.kind == "int" and isinstance(better, float) and better.is_integer():
                better = int(better)
            return Misfit(refused=crashes, expected=_expected(key), taken=value, better=better)
        case "int" if isinstance(value, float) and not value.is_integer():
            return Misfit(refused=crashes, expected=_expected(key), taken=value)
        case "bool" if not isinstance(value, bool) and value not in (0, 1):
            word = value.lower() if isinstance(value, str) else ""
            better = True if word in _TRUE else False if word in _FALSE else None
            refused = crashes and not isinstance(value, int)  # a bitwise "or" is made with it
            return Misfit(refused=refused, expected="true or false", taken=bool(value), better=better)
        case "choice" if not isinstance(value, str) or value.lower() not in [c.lower() for c in key.choices]:
            return _refuse(key, value)
        case "number-list":
            return _number_list(value)
        case "names" if not _are_names(value):
            return Misfit(refused=True, expected="a list of names")
        case "str" if crashes and not isinstance(value, str):
            return _refuse(key, value)
        case _:
            return None


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _expected(key: Key) -> str:
    if key.choices:
        return "one of " + ", ".join(plain(c) for c in key.choices)
    names = {
        "bool": "true or false",
        "int": "a whole number",
        "float": "a number",
        "str": "text",
        "list": "a list",
        "number-list": "a list of numbers",
        "dict": "an object",
        "section": "an object of keys and values",
    }
    return names.get(key.kind, "another value")


def _refuse(key: Key, value: Any, better: Any = None) -> Misfit:
    if better is None and key.kind in ("int", "float"):
        better = _parsed(value)
    return Misfit(refused=True, expected=_expected(key), better=better)


def _parsed(value: Any) -> Any:
    """The number that text spells, whole where it is whole."""
    if not isinstance(value, str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    whole = number.is_integer() and abs(number) < _LARGEST_FLOAT and "." not in value and number != 0
    return int(number) if whole and abs(number) >= 1 else number


def _bool(value: Any) -> Misfit | None:
    if isinstance(value, bool) or (isinstance(value, int | float) and value in (0, 1)):
        return None
    if isinstance(value, str) and value.lower() in (*_TRUE, *_FALSE):
        taken = value.lower() in _TRUE
        return Misfit(refused=False, expected="true or false", taken=taken, better=taken)
    return Misfit(refused=True, expected="true or false")


def _int(key: Key, value: Any, version: Version) -> Misfit | None:
    if isinstance(value, bool):
        return _bounds(key, int(value), version) or Misfit(
            refused=False, expected=_expected(key), taken=int(value)
        )
    if isinstance(value, str):
        if not _WHOLE.fullmatch(value):
            better = _parsed(value)
            whole = isinstance(better, int) or (isinstance(better, float) and better.is_integer())
            return Misfit(refused=True, expected=_expected(key), better=int(better) if whole else None)
        taken = int(float(value)) if "." in value else int(value)
        return _bounds(key, taken, version) or Misfit(
            refused=False, expected=_expected(key), taken=taken, better=taken
        )
    if isinstance(value, float):
        if not math.isfinite(value) or not value.is_integer() or abs(value) >= _LARGEST_FLOAT:
            return _refuse(key, value, _near_whole(value))
        return _bounds(key, int(value), version)
    return _bounds(key, value, version) if isinstance(value, int) else _refuse(key, value)


def _near_whole(value: float) -> int | None:
    return round(value) if math.isfinite(value) and 1 <= abs(value) < _LARGEST_FLOAT else None


def _float(key: Key, value: Any, version: Version) -> Misfit | None:
    if isinstance(value, bool):
        return _bounds(key, int(value), version) or Misfit(
            refused=False, expected="a number", taken=float(value)
        )
    if isinstance(value, str):
        better = _parsed(value)
        if better is None:
            return _refuse(key, value)
        return _bounds(key, better, version) or Misfit(
            refused=False, expected="a number", taken=float(better), better=better
        )
    return _bounds(key, value, version) if isinstance(value, int | float) else _refuse(key, value)


def _bounds(key: Key, value: float, version: Version) -> Misfit | None:
    ge, gt, le, lt = key.ge, key.gt, key.le, key.lt
    if key.bound_since is not None and version < parse(key.bound_since):
        ge, gt, lt = key.old_ge, None, None
    limits = (
        ("at least", ge, ge is not None and not value >= ge),
        ("greater than", gt, gt is not None and not value > gt),
        ("at most", le, le is not None and not value <= le),
        ("less than", lt, lt is not None and not value < lt),
    )
    for word, limit, broken in limits:
        if broken:
            shown = int(limit) if limit is not None and float(limit).is_integer() else limit
            return Misfit(refused=True, expected=f"{_expected(key)} {word} {shown}", range=True)
    return None


def _choice(key: Key, value: Any) -> Misfit | None:
    if all(isinstance(c, int) for c in key.choices):
        return _whole_choice(key, value)
    if isinstance(value, str) and value in key.choices:
        return None
    wanted = value.strip().lower() if isinstance(value, str) else None
    better = next((c for c in key.choices if c == wanted), None)
    return Misfit(refused=True, expected=_expected(key), better=better, range=isinstance(value, str))


def _whole_choice(key: Key, value: Any) -> Misfit | None:
    number: Any = value
    if isinstance(value, str):
        number = int(float(value)) if _WHOLE.fullmatch(value) else None
    if isinstance(number, int | float) and number in key.choices:
        if isinstance(value, str | bool):
            return Misfit(refused=False, expected=_expected(key), taken=int(number), better=int(number))
        return None
    return Misfit(refused=True, expected=_expected(key), range=isinstance(number, int | float))


def _list(key: Key, value: Any) -> Misfit | None:
    if not isinstance(value, list):
        better = [value] if isinstance(value, str) and value in key.choices else None
        return Misfit(refused=True, expected="a list", better=better)
    wrong = [item for item in value if key.choices and item not in key.choices]
    if wrong:
        return Misfit(refused=True, expected=f"a list with some {_expected(key)}", range=True)
    return None


def _number_list(value: Any) -> Misfit | None:
    numbers = isinstance(value, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in value
    )
    if numbers:
        return None
    better = [_parsed(v) if isinstance(v, str) else v for v in value] if isinstance(value, list) else None
    return Misfit(
        refused=True,
        expected="a list of numbers",
        better=better if better and all(isinstance(v, int | float) for v in better) else None,
    )

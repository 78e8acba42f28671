"""Reading the JSON form with *all* its errors: names, types and ranges are checked before protobuf parses."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

_INT_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

# protobuf's type stubs give every descriptor two unrelated classes.
Field = Any
Violations = list[tuple[str, str]]


class WireError(ValueError):
    """The JSON form of a message is wrong.

    Attributes:
        violations: (field path, description) pairs: everything that is wrong, not only the first.
    """

    def __init__(self, violations: Violations) -> None:
        self.violations = violations
        super().__init__("; ".join(f"{path or '(the whole)'}: {text}" for path, text in violations))


def normalise(value: Any, descriptor: Field, path: str, violations: Violations) -> Any:
    """Checks a JSON value against a message type and returns what `json_format.ParseDict` takes."""
    match descriptor.full_name:
        case "google.protobuf.Struct":
            if not isinstance(value, Mapping):
                violations.append((path, f"must be an object, got {_show(value)}"))
                return None
            return _plain(value)
        case "google.protobuf.Value":
            return _plain(value)
        case "google.protobuf.Duration":
            return _duration(value, path, violations)
        case "google.protobuf.Timestamp":
            return value
    if not isinstance(value, Mapping):
        violations.append((path, f"must be an object, got {_show(value)}"))
        return None
    by_name = {f.name: f for f in descriptor.fields} | {f.json_name: f for f in descriptor.fields}
    clean: dict[str, Any] = {}
    for key, item in value.items():
        where = f"{path}.{key}" if path else str(key)
        field = by_name.get(str(key))
        if field is None:
            violations.append((where, unknown_name(str(key), [f.name for f in descriptor.fields])))
        elif item is not None or _is_value(field):
            clean[field.name] = _field(item, field, where, violations)
    for oneof in descriptor.oneofs:
        given = [f.name for f in oneof.fields if f.name in clean]
        if len(given) > 1:
            violations.append((path, f"give only one of {', '.join(given)}"))
    return clean


def unknown_name(name: str, known: list[str]) -> str:
    """The text for a name that is not known."""
    near = difflib.get_close_matches(name, known, n=1)
    return (
        f"unknown name; did you mean {near[0]!r}?"
        if near
        else f"unknown name; known are {', '.join(sorted(known))}"
    )


def _field(value: Any, field: Field, path: str, violations: Violations) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if not isinstance(value, Mapping):
            violations.append((path, f"must be an object, got {_show(value)}"))
            return None
        item = field.message_type.fields_by_name["value"]
        return {str(k): _single(v, item, f"{path}.{k}", violations) for k, v in value.items()}
    if is_repeated(field):
        if not isinstance(value, list | tuple):
            violations.append((path, f"must be a list, got {_show(value)}"))
            return None
        return [_single(v, field, f"{path}[{i}]", violations) for i, v in enumerate(value)]
    return _single(value, field, path, violations)


def _single(value: Any, field: Field, path: str, violations: Violations) -> Any:
    if field.message_type is not None:
        return normalise(value, field.message_type, path, violations)
    if field.enum_type is not None:
        return _enum(value, field.enum_type, path, violations)
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        if isinstance(value, bool):
            return value
        violations.append((path, f"must be true or false, got {_show(value)}"))
    elif kind == FieldDescriptor.CPPTYPE_STRING:
        if isinstance(value, str):
            return value
        violations.append((path, f"must be text, got {_show(value)}"))
    elif kind in _INT_RANGES:
        return _integer(value, _INT_RANGES[kind], path, violations)
    else:
        return _number(value, path, violations)
    return None


def _enum(value: Any, descriptor: Field, path: str, violations: Violations) -> Any:
    names: list[str] = [v.name for v in descriptor.values]
    prefix = names[0].removesuffix("UNSPECIFIED")
    if isinstance(value, str):
        text = value.strip().upper().replace("-", "_")
        for name in (text, prefix + text):
            if name in names:
                return name
    short = [n.removeprefix(prefix).lower() for n in names[1:]]
    violations.append((path, f"must be one of {', '.join(short)}, got {_show(value)}"))
    return None


def _integer(value: Any, limits: tuple[int, int], path: str, violations: Violations) -> int | None:
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and re.fullmatch(r"-?\d+", value.strip())
    ):
        number = int(value)
    if number is None:
        violations.append((path, f"must be an integer, got {_show(value)}"))
    elif not limits[0] <= number <= limits[1]:
        violations.append((path, f"must be between {limits[0]} and {limits[1]}, got {number}"))
        number = None
    return number


def _number(value: Any, path: str, violations: Violations) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        # ParseDict wants the names of non-finite numbers, not the numbers.
        return value if math.isfinite(value) else _name(float(value))
    if isinstance(value, str):
        if value in _NON_FINITE:
            return value
        try:
            return _number(float(value), path, violations)
        except ValueError:
            pass
    violations.append((path, f"must be a number, got {_show(value)}"))
    return None


def _duration(value: Any, path: str, violations: Violations) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return f"{value:.9f}s"
    if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d{1,9})?s", value):
        return value
    violations.append((path, f'must be a duration such as "300s", got {_show(value)}'))
    return None


def _plain(value: Any) -> Any:
    """A JSON value for a Struct or Value: non-finite numbers and large integers become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return _name(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _name(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _is_value(field: Field) -> bool:
    return field.message_type is not None and field.message_type.full_name == "google.protobuf.Value"


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def is_repeated(field: Field) -> bool:
    """Whether the field is a list (a map counts as one)."""
    repeated = getattr(field, "is_repeated", None)  # protobuf >= 6; `label` is deprecated there
    return bool(repeated if repeated is not None else field.label == FieldDescriptor.LABEL_REPEATED)

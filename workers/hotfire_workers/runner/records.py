"""Records of `hotfire.rules.evidence` to and from JSON files."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@functools.cache
def _hints(record: Any) -> dict[str, Any]:
    return typing.get_type_hints(record)


def from_dict(record: type[T], values: dict[str, Any]) -> T:
    """Build a record, nested ones included, from what `dataclasses.asdict` made of it.

    Names that the record does not have are passed over: the file may come from a newer version.

    Args:
        record: A dataclass.
        values: Its fields.
    """
    hints = _hints(typing.cast("Any", record))
    known = {name: _convert(hints[name], value) for name, value in values.items() if name in hints}
    return record(**known)


def _convert(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        return _convert(next(a for a in arguments if a is not type(None)), value)
    if origin is list and arguments:
        return [_convert(arguments[0], item) for item in value]
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    return value


def write(path: Path, record: Any) -> None:
    """Write a record as JSON (with NaN and Infinity tokens)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dataclasses.asdict(record)))


def read(path: Path, record: type[T]) -> T:
    """Read a record that was written as JSON.

    Raises:
        OSError: No such file.
        ValueError: Not JSON, or not an object.
    """
    values = json.loads(path.read_text())
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a JSON object")
    return from_dict(record, values)

"""Evidence records as JSON files: `model.json`, `data.json`, the lines of `rows.jsonl`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from hotfire.rules.evidence import PreparedRow


def plain(value: Any) -> Any:
    """Turns records into dicts, field by field.

    Unlike `dataclasses.asdict` it leaves lists of numbers as they are: that counts with a million token ids.
    """
    if isinstance(value, PreparedRow):
        return _compact(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if all(type(item) in (int, float, str) for item in value):
            return value
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


_ROW_FIELDS = [(f.name, None if f.default is dataclasses.MISSING else f.default) for f in fields(PreparedRow)]


def _compact(row: PreparedRow) -> dict[str, Any]:
    """What differs from the defaults: there may be 200,000 rows, most of them without their ids."""
    values = ((name, getattr(row, name), default) for name, default in _ROW_FIELDS)
    return {name: value for name, value, default in values if value != default and value != []}


def write_json(path: Path, value: Any) -> None:
    """Writes one record. ASCII only, so that a lone surrogate in a row cannot break the file."""
    path.write_text(json.dumps(plain(value)), encoding="ascii")


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """Writes one record per line."""
    with path.open("w", encoding="ascii") as file:
        for value in values:
            file.write(json.dumps(plain(value)) + "\n")

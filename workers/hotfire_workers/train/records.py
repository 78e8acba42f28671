"""Evidence records as JSON files: `model.json`, `data.json`, the lines of `rows.jsonl`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """Turns records into dicts, field by field.

    Unlike `dataclasses.asdict` it leaves lists of numbers as they are: that counts with a million token ids.
    """
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


def write_json(path: Path, value: Any) -> None:
    """Writes one record. ASCII only, so that a lone surrogate in a row cannot break the file."""
    path.write_text(json.dumps(plain(value)), encoding="ascii")


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """Writes one record per line."""
    with path.open("w", encoding="ascii") as file:
        for value in values:
            file.write(json.dumps(plain(value)) + "\n")

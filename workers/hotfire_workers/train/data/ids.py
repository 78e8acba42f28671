"""Numbers of rows that are tokenised already."""

from __future__ import annotations

from typing import Any

from hotfire_workers.train.data.rowerror import RowError, kind_of


def integers_of(value: Any, name: str) -> list[int]:
    """One flat list of whole numbers.

    Raises:
        RowError: It is none (kind "nested-ids" for [[ids]]).
    """
    if not isinstance(value, list):
        looks = isinstance(value, str) and value.lstrip().startswith("[")
        hint = ": it is a list written as a text; write numbers" if looks else ""
        raise RowError(f"field {name!r} is {kind_of(value)}, not a list of numbers{hint}")
    if set(map(type, value)) <= {int} and (not value or (min(value) >= -(2**31) and max(value) < 2**31)):
        return value  # the usual case, without a look at each
    if any(isinstance(item, list) for item in value):
        raise RowError(
            f"field {name!r} is a nested list: give one flat list of numbers per row", kind="nested-ids"
        )
    numbers = []
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int | float):
            digits = isinstance(item, str) and item.strip().lstrip("-").isdigit()
            hint = ": the ids are written as texts" if digits else ""
            raise RowError(f"field {name!r} holds {kind_of(item)} where a whole number is needed{hint}")
        if not -(2**31) <= item < 2**31 or item != int(item):
            raise RowError(f"field {name!r} holds a number that is no token id")
        numbers.append(int(item))
    return numbers

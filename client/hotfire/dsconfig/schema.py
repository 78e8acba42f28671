"""The table of every key DeepSpeed reads, by version: lookups over it.

The table itself stands in `schema_top`, `schema_zero`, `schema_sections`; a test compares its strict sections
with the real pydantic models where DeepSpeed is installed.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator

from hotfire.dsconfig.schema_keys import Key, Section
from hotfire.dsconfig.schema_sections import SCHEDULERS
from hotfire.dsconfig.schema_top import ROOT

__all__ = ["KEYS", "ROOT", "SCHEDULERS", "Key", "Section", "edit_distance", "lookup", "nearest", "section_at"]

MAX_EDITS = 2
"""A name at most this far from a known one is a misspelling of it."""


def _flatten(section: Section, pointer: str) -> Iterator[tuple[str, Key]]:
    for key in section.keys:
        for name in (key.name, *key.aliases):
            yield f"{pointer}/{name}", key
            if key.section is not None:
                yield from _flatten(key.section, f"{pointer}/{name}")


KEYS: dict[str, Key] = dict(_flatten(ROOT, ""))
"""JSON pointer within the config -> key, under every name it has."""


def lookup(pointer: str) -> Key | None:
    """The key at a pointer such as "/zero_optimization/stage"; None if DeepSpeed knows none there."""
    return KEYS.get(pointer)


def section_at(pointer: str) -> Section | None:
    """The section at a pointer; "" is the whole config."""
    if not pointer:
        return ROOT
    key = KEYS.get(pointer)
    return None if key is None else key.section


def nearest(name: str, section: Section) -> str | None:
    """The known name of the section that looks most like this one, if any does."""
    names = [n for key in section.keys if key.removed is None for n in (key.name, *key.aliases)]
    lowered = name.lower().replace("-", "_")
    if close := min(names, key=lambda n: edit_distance(lowered, n), default=None):
        limit = MAX_EDITS if len(name) > 4 else 1
        if edit_distance(lowered, close) <= limit:
            return close
    # Longer names: the words may be right and the rest not (offload_params -> offload_param).
    near = difflib.get_close_matches(lowered, names, n=1, cutoff=0.8)
    return near[0] if near else None


@functools.lru_cache(maxsize=8192)
def edit_distance(one: str, other: str) -> int:
    """Levenshtein distance: insertions, deletions and substitutions of one character."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]

"""Rows behind those that can all be tokenised: looked at as they are, and the odd ones picked."""

from __future__ import annotations

from collections.abc import Collection

from hotfire_workers.train.data.formats import Item
from hotfire_workers.train.data.rawrow import RawRow
from hotfire_workers.train.data.shape import Traits

Entry = tuple[Item, RawRow, Traits]
"""One row: as it was read, as it stands in the file, and its traits."""
_MAX_PICKED = 64
_EVERY = 1000


class Scan:
    """Picks rows by their traits: the longest, the shortest, new kinds, and one in a thousand.

    Args:
        known: Kinds that were met before.
    """

    def __init__(self, known: Collection[str]):
        self._kinds = set(known)
        self._picked: dict[int, Entry] = {}
        self._longest: Entry | None = None
        self._shortest: Entry | None = None
        self.num_rows = 0

    def see(self, entry: Entry) -> None:
        """Looks at one row."""
        item, _, traits = entry
        self.num_rows += 1
        size = traits.num_characters
        if self._longest is None or size > self._longest[2].num_characters:
            self._longest = entry
        if self._shortest is None or size < self._shortest[2].num_characters:
            self._shortest = entry
        is_new = not self._kinds.issuperset(traits.kinds)
        if (is_new or self.num_rows % _EVERY == 0) and len(self._picked) < _MAX_PICKED:
            self._kinds.update(traits.kinds)
            self._picked[item.row] = entry

    def picked(self) -> list[Entry]:
        """The rows to be tokenised, in the file's order."""
        chosen = dict(self._picked)
        for found in (self._longest, self._shortest):
            if found is not None:
                chosen[found[0].row] = found
        return [chosen[row] for row in sorted(chosen)]

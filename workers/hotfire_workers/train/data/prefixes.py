"""Token ids of the beginning of a text, from the ids of the whole text, without tokenising most of it again.

A tokenizer cuts a text at its added tokens (<|im_start|>, ...) before anything else, so what stands before one
of them has the same ids in the beginning as in the whole. Only what follows the last added token of the
beginning is tokenised by itself, and that is mostly the same few characters in every row.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass
from typing import Any

_MAX_KNOWN = 4096
_MAX_KNOWN_CHARACTERS = 200


@dataclass(slots=True)
class Marks:
    """Where the added tokens of one text are: in its characters and in its ids."""

    starts: list[int]
    ends: list[int]
    places: list[int]


class Prefixes:
    """Finds the ids of beginnings.

    Args:
        tokenizer: A Hugging Face tokenizer.
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        added = tokenizer.added_tokens_decoder if getattr(tokenizer, "is_fast", False) else {}
        # A token that counts only as a word of its own is not found by its characters alone.
        found = {} if any(t.single_word for t in added.values()) else {t.content: i for i, t in added.items()}
        self._id_of = {content: token_id for content, token_id in found.items() if content}
        ordered = sorted(self._id_of, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def marks(self, text: str, ids: list[int]) -> Marks | None:
        """The added tokens of a text, or None where characters and ids do not tell the same."""
        if self._pattern is None:
            return None
        matches = list(self._pattern.finditer(text))
        places, place = [], -1
        for match in matches:
            token = self._id_of[match.group()]
            try:
                place = ids.index(token, place + 1)
            except ValueError:
                return None
            places.append(place)
        if sum(map(ids.count, {ids[place] for place in places})) != len(places):
            return None  # one of them is in the ids more often than in the text
        return Marks([m.start() for m in matches], [m.end() for m in matches], places)

    def tail(self, beginning: str, marks: Marks) -> tuple[int, list[int]] | None:
        """How many ids of the whole text come unchanged, and the ids behind them; None: it cannot be told.

        Args:
            beginning: The whole text must begin with it.
            marks: Of the whole text.
        """
        count = bisect.bisect_right(marks.ends, len(beginning))
        if not count:
            return None
        return marks.places[count - 1], self._tokens(beginning[marks.starts[count - 1] :])

    def _tokens(self, text: str) -> list[int]:
        if (ids := self._known.get(text)) is None:
            ids = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
            if len(text) <= _MAX_KNOWN_CHARACTERS and len(self._known) < _MAX_KNOWN:
                self._known[text] = ids
        return ids

"""What kinds of rows there are: their columns, scripts, media and tools, and how long their texts are."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hotfire_workers.train.data.formats import Item

_SCRIPTS = {
    "Cyrillic": "\u0400-\u052f",
    "Greek": "\u0370-\u03ff",
    "Arabic": "\u0600-\u06ff\u0750-\u077f",
    "Hebrew": "\u0590-\u05ff",
    "Devanagari": "\u0900-\u097f",
    "Bengali": "\u0980-\u09ff",
    "Tamil": "\u0b80-\u0bff",
    "Thai": "\u0e00-\u0e7f",
    "Georgian": "\u10a0-\u10ff",
    "Japanese": "\u3040-\u30ff",
    "Korean": "\uac00-\ud7af\u1100-\u11ff",
    "Chinese characters": "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0002ffff",
    "emoji": "\U0001f300-\U0001faff\u2600-\u27bf",
}
_PATTERNS = {name: re.compile(f"[{ranges}]") for name, ranges in _SCRIPTS.items()}
_BEYOND_LATIN = re.compile("[\u0370-\U0010ffff]")
_MEDIA = {"image": ("image", "images"), "audio": ("audio", "audios"), "video": ("video", "videos")}
_MAX_COLUMN_SETS = 20
_MAX_LISTED = 5
_MAX_SEARCHED = 20_000
"""Characters of a text that are searched for scripts."""


@dataclass(kw_only=True, slots=True)
class Traits:
    """What tells one kind of row from another, known before it is tokenised."""

    num_characters: int
    kinds: tuple[str, ...]
    """Such as "role 'tool'", "script Cyrillic", "image", "tool calls"."""


def traits_of(item: Item, value: Mapping[str, Any]) -> Traits:
    """The traits of one row, as it was read and as it stands in the file."""
    if item.input_ids is not None:
        return Traits(num_characters=4 * len(item.input_ids), kinds=())
    kinds: dict[str, None] = {}
    num_characters = 0
    for text in _texts(item):
        num_characters += len(text)
        if not text.isascii():
            kinds.update(dict.fromkeys(f"script {name}" for name in scripts_of(text)))
    for message in item.messages or ():
        kinds[f"role {message['role'][:40]!r}"] = None
        if message.get("tool_calls"):
            kinds["tool calls"] = None
        if isinstance(message.get("content"), list):
            kinds.update(dict.fromkeys(_media_of(message["content"])))
    if item.tools:
        kinds["tools"] = None
    for medium, columns in _MEDIA.items():
        if any(value.get(column) for column in columns):
            kinds[medium] = None
    return Traits(num_characters=num_characters, kinds=tuple(kinds))


def scripts_of(text: str) -> list[str]:
    """Scripts other than Latin that occur in a text."""
    text = text[:_MAX_SEARCHED]
    if not _BEYOND_LATIN.search(text):
        return []
    return [name for name, pattern in _PATTERNS.items() if pattern.search(text)]


def _texts(item: Item) -> Iterator[str]:
    if item.text is not None:
        yield item.text
    for message in item.messages or ():
        content = message.get("content")
        if isinstance(content, str):
            yield content
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield part["text"]


def _media_of(parts: list[Any]) -> Iterator[str]:
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        for medium in _MEDIA:
            if kind in (medium, f"{medium}_url", f"input_{medium}"):
                yield medium


class Shapes:
    """Counts the kinds of rows; `facts` gives what was seen, for `DataEvidence.extra`."""

    def __init__(self) -> None:
        self._columns: Counter[tuple[str, ...]] = Counter()
        self._column_rows: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        self._num_other_columns = 0
        self.kinds: Counter[str] = Counter()
        self._nul_rows: list[int] = []
        self._num_nul_rows = 0

    def see_columns(self, row: int, value: Mapping[str, Any]) -> tuple[str, ...]:
        """A row as it stands in the file; returns which columns have a value."""
        names = tuple(sorted(str(key)[:60] for key, v in value.items() if v is not None)[:50])
        if names not in self._columns and len(self._columns) >= _MAX_COLUMN_SETS:
            self._num_other_columns += 1
            return names
        self._columns[names] += 1
        if len(self._column_rows[names]) < _MAX_LISTED:
            self._column_rows[names].append(row)
        return names

    def see(self, item: Item, traits: Traits) -> None:
        """The same row, as it was read."""
        self.kinds.update(traits.kinds)
        if any("\0" in text for text in _texts(item)):
            self._num_nul_rows += 1
            if len(self._nul_rows) < _MAX_LISTED:
                self._nul_rows.append(item.row)

    def facts(self) -> dict[str, Any]:
        """`column_sets` (the most frequent first), `kinds`, `nul_character_rows` with its number."""
        return {
            "column_sets": [
                {"columns": list(names), "num_rows": count, "rows": self._column_rows[names]}
                for names, count in self._columns.most_common()
            ],
            "kinds": dict(self.kinds.most_common(50)),
            "nul_character_rows": self._nul_rows,
            "num_nul_character_rows": self._num_nul_rows,
        }

    def notes(self) -> list[str]:
        """Columns that drift, named."""
        if len(self._columns) < 2:
            return []
        parts = []
        for names, count in self._columns.most_common(4):
            rows = self._column_rows[names]
            listed = ", ".join(map(str, rows)) + (", ..." if count > len(rows) else "")
            what = ", ".join(names) or "no value at all"
            has = "1 row has" if count == 1 else f"{count} rows have"
            parts.append(f"{has} {what} ({'row' if count == 1 else 'rows'} {listed})")
        more = len(self._columns) - len(parts)
        parts += [f"and {more} more sets of columns"] if more > 0 else []
        return [f"not all rows have the same columns: {'; '.join(parts)}"]

"""Images, audio and video of a row against the placeholders among its tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hotfire_workers.train.data.formats import Item

_COLUMNS = {
    "image": ("image", "images"),
    "audio": ("audio", "audios"),
    "video": ("video", "videos"),
}
_ID_KEYS = ("{}_token_id", "{}_token_index")
_PROCESSORS = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")
_MAX_LISTED = 50


class Media:
    """Counts the media of rows and the placeholder tokens that stand for them.

    Args:
        config: The model's config.json: it names the placeholder's id.
        folder: The model folder, where a processor may lie; None: not known.
    """

    def __init__(self, config: Mapping[str, Any], folder: Path | None):
        self._ids = {kind: token for kind in _COLUMNS if (token := _placeholder(config, kind)) is not None}
        self._has_processor = folder is not None and any((folder / n).is_file() for n in _PROCESSORS)
        self._num_rows: defaultdict[str, int] = defaultdict(int)
        self._rows: defaultdict[str, list[int]] = defaultdict(list)
        self._num: defaultdict[str, int] = defaultdict(int)

    def see(self, value: Mapping[str, Any], item: Item, ids: list[int], kept: int, side: str) -> None:
        """One usable row.

        Args:
            value: As it stands in the file.
            item: As it was read.
            ids: Its tokens before truncation.
            kept: How many truncation leaves.
            side: The end that is cut off.
        """
        for kind in _COLUMNS:
            num_media = _num_media(kind, value, item)
            token = self._ids.get(kind)
            num_before = ids.count(token) if token is not None else 0
            if not num_media and not num_before:
                continue
            self._num_rows[kind] += 1
            if token is None:
                continue
            left = ids[-kept:] if side == "left" else ids[:kept]
            if num_before and left.count(token) < num_before:
                self._note(f"{kind}_cut", item.row)
            elif num_before < num_media or (num_before and not num_media):
                # One token for each, or as many as the processor expands it to: never fewer.
                self._note(f"{kind}_mismatch", item.row)

    def facts(self) -> dict[str, Any]:
        """`media`: empty where no row has any."""
        if not self._num_rows:
            return {}
        return {
            "media": {
                "num_rows": dict(self._num_rows),
                "placeholder_ids": self._ids,
                "has_processor": self._has_processor,
                "problems": {
                    name: {"num_rows": n, "rows": self._rows[name]} for name, n in self._num.items()
                },
            }
        }

    def _note(self, name: str, row: int) -> None:
        self._num[name] += 1
        if len(self._rows[name]) < _MAX_LISTED:
            self._rows[name].append(row)


def _placeholder(config: Mapping[str, Any], kind: str) -> int | None:
    for key in _ID_KEYS:
        value = config.get(key.format(kind))
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _num_media(kind: str, value: Mapping[str, Any], item: Item) -> int:
    """Parts of that kind in the messages, or entries of the row's column, whichever are more."""
    parts = sum(
        1
        for message in item.messages or ()
        if isinstance(message.get("content"), list)
        for part in message["content"]
        if isinstance(part, dict) and part.get("type") in (kind, f"{kind}_url", f"input_{kind}")
    )
    for name in _COLUMNS[kind]:
        given = value.get(name)
        if given:
            return max(parts, len(given) if isinstance(given, list) else 1)
    return parts

"""Columns that the model never sees: answers that are left behind, masks that nobody reads."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from hotfire_workers.train.data.formats import Item

_ANSWERS = (
    "output",
    "outputs",
    "response",
    "responses",
    "answer",
    "answers",
    "completion",
    "target",
    "targets",
    "reply",
    "assistant",
)
"""Columns that hold an answer in public data sets."""
_MASKS = (
    "assistant_masks",
    "assistant_mask",
    "assistant_tokens_mask",
    "completion_mask",
    "loss_mask",
    "loss_masks",
)
"""Columns that say which tokens are to be learnt; a model's forward takes none of them."""
_MAX_LISTED = 50
_MAX_DECODED = 200


class Columns:
    """Looks at the columns of rows against what is made of them."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._seen: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()
        self._unseen: defaultdict[str, list[int]] = defaultdict(list)
        self._num_unseen: Counter[str] = Counter()
        self._masks: Counter[str] = Counter()
        self._num_decoded = 0

    def see(self, value: Mapping[str, Any]) -> None:
        """A row as it stands in the file."""
        self._seen.update(str(key)[:60] for key in list(value)[:200])

    def see_usable(self, value: Mapping[str, Any], item: Item, ids: list[int]) -> None:
        """The same row, as it was read and tokenised."""
        if item.input_ids is not None and item.labels is None:
            self._masks.update(name for name in _MASKS if value.get(name) is not None)
        if item.answers is not None and any(a.strip() for a in item.answers):
            return  # it has an answer
        present = [name for name in value if str(name).lower() in _ANSWERS and _texts(value[name])]
        if not present:
            return
        text = self._text(item, ids)
        if text is None:
            return
        for name in present:
            self._answers[name] += 1
            if not any(_squeezed(t) in text for t in _texts(value[name])):
                self._num_unseen[name] += 1
                if len(self._unseen[name]) < _MAX_LISTED:
                    self._unseen[name].append(item.row)

    def facts(self) -> dict[str, Any]:
        """`columns`, `mask_columns` (name -> rows), `unseen_answers` (name -> num_rows, num_unseen, rows)."""
        return {
            "columns": dict(self._seen),
            "mask_columns": dict(self._masks),
            "unseen_answers": {
                name: {"num_rows": self._answers[name], "num_unseen": count, "rows": self._unseen[name]}
                for name, count in self._num_unseen.items()
            },
        }

    def _text(self, item: Item, ids: list[int]) -> str | None:
        """What the model sees, without white space; None where that is not known."""
        if item.text is not None:
            return _squeezed(item.text)
        if item.messages is not None:
            return _squeezed(
                " ".join(str(m.get("content")) + str(m.get("tool_calls")) for m in item.messages)
            )
        if self._tokenizer is None or self._num_decoded >= _MAX_DECODED:
            return None
        self._num_decoded += 1
        try:
            return _squeezed(self._tokenizer.decode(ids))
        except Exception:  # noqa: BLE001 - ids out of range: each tokenizer raises its own
            return None


def _texts(value: Any) -> list[str]:
    """The texts of an answer's column; a list holds several right ones."""
    if isinstance(value, dict):  # SQuAD: {"text": [...], "answer_start": [...]}
        value = value.get("text")
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, str) and v.strip()]


def _squeezed(text: str) -> str:
    return "".join(text.split())

"""Rows to batches, as the job's collator makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from hotfire_workers.train.data.encode import IGNORED

Batch = dict[str, torch.Tensor]


def make_collator(
    training: dict[str, Any], data: dict[str, Any], tokenizer: Any = None
) -> Callable[[Sequence[dict[str, Any]]], Batch]:
    """Makes the function that pads rows to one batch.

    The masking that the job's collator does by itself (LANGUAGE_MODELING: every pad id) is in the rows'
    labels already: `prepare` put it there. What is left for every collator is to pad.

    Args:
        training: The training arguments (`padding_side`).
        data: `data.json`, as a dict: `pad_token_id` and `extra.padding_side` are used.
        tokenizer: Where given, the source of what `data` does not say.

    Returns:
        A function: rows {"input_ids", "labels", "attention_mask"} -> int64 tensors of these names, each of
        shape (rows, longest row); padding has label -100 and attention 0. Packs that keep their rows apart
        (`seq_lengths`): "input_ids", "labels" and "position_ids" of shape (1, all tokens).
    """
    pad = data.get("pad_token_id")
    if pad is None:
        pad = getattr(tokenizer, "pad_token_id", None)
    side: str = (
        training.get("padding_side")
        or (data.get("extra") or {}).get("padding_side")
        or getattr(tokenizer, "padding_side", "right")
    )
    # Without any pad id, id 0 stands there; attention 0 and label -100 keep it out of the loss.
    fill = {"input_ids": pad if pad is not None else 0, "labels": IGNORED, "attention_mask": 0}

    def collate(rows: Sequence[dict[str, Any]]) -> Batch:
        if "seq_lengths" in rows[0]:
            return _joined(rows)
        length = max(len(row["input_ids"]) for row in rows)
        return {
            name: torch.tensor([_padded(row[name], length, value, side) for row in rows])
            for name, value in fill.items()
        }

    return collate


def _joined(packs: Sequence[dict[str, Any]]) -> Batch:
    """TRL's `DataCollatorForLanguageModeling(padding_free=True)`: one sequence, no mask, no first labels."""
    positions = [i for pack in packs for length in pack["seq_lengths"] for i in range(length)]
    labels = [label for pack in packs for label in pack["labels"]]
    return {
        "input_ids": torch.tensor([[token for pack in packs for token in pack["input_ids"]]]),
        "labels": torch.tensor(
            [[label if i else IGNORED for i, label in zip(positions, labels, strict=True)]]
        ),
        "position_ids": torch.tensor([positions]),
    }


def _padded(values: list[int], length: int, fill: int, side: str) -> list[int]:
    padding = [fill] * (length - len(values))
    return padding + values if side == "left" else values + padding

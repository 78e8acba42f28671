"""What a micro-batch is made of, counted on the tensors that the model gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

IGNORED_LABEL = -100
ROWS = "hotfire_rows"
"""Key of the row numbers beside the model's inputs in a batch; taken out before the model runs."""


def count_supervised(batch: Mapping[str, Any]) -> int | None:
    """Labels that the shifted causal loss looks at (never position 0). None when there are no labels."""
    labels = batch.get("labels")
    if not isinstance(labels, torch.Tensor):
        return None
    return int(labels[..., 1:].ne(IGNORED_LABEL).sum())


def count_tokens(batch: Mapping[str, Any]) -> int | None:
    """Tokens without padding."""
    mask = batch.get("attention_mask")
    if isinstance(mask, torch.Tensor) and mask.dim() == 2:
        return int(mask.sum())
    ids = batch.get("input_ids")
    return int(ids.numel()) if isinstance(ids, torch.Tensor) else None


def take_rows(batch: dict[str, Any]) -> list[int]:
    """Removes the row numbers from a batch and returns them."""
    rows = batch.pop(ROWS, None)
    return [int(row) for row in rows] if rows is not None else []


def describe(batch: Mapping[str, Any], rows: list[int]) -> dict[str, Any]:
    """The part of a micro-batch's line that is known before the forward pass."""
    return {
        "loss": None,
        "num_supervised_tokens": count_supervised(batch),
        "rows": rows,
        "num_tokens": count_tokens(batch),
    }


def total_supervised(micro_batches: list[dict[str, Any]]) -> int | None:
    """Supervised tokens of one rank's step; None when a micro-batch had no labels, or none was looked at."""
    counts = [m["num_supervised_tokens"] for m in micro_batches]
    return None if None in counts or not counts else sum(counts)

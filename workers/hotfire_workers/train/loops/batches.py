"""The rows of a trial and how they reach the ranks: the same micro-batches in every loop and every trial.

Batch number k of the job (from 0) goes to rank k mod world size, as the HF Trainer's sharded sampler does;
the rows of `rows.jsonl` are taken in their order, which the preparation chose, and from the beginning again
when they run out. So step 1 is the same at every ZeRO stage, in the reference and whatever the number of
steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from hotfire_workers.train.probes.loss import ROWS

Collator = Callable[[list[dict[str, Any]]], dict[str, Any]]


class NoRowsError(ValueError):
    """The preparation left no usable row."""


def read_rows(prepared_dir: str) -> list[dict[str, Any]]:
    """Reads `rows.jsonl` of a preparation.

    Raises:
        NoRowsError: It has no row.
    """
    path = Path(prepared_dir) / "rows.jsonl"
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    if not rows:
        raise NoRowsError(f"{path.name} has no usable row: a training step needs at least one")
    return rows


def short_of_rows(num_rows: int, rows_per_step: int) -> str | None:
    """The note to write when one step needs more rows than there are; None when there are enough."""
    if num_rows >= rows_per_step:
        return None
    return (
        f"one optimizer step takes {rows_per_step} rows and the sample has {num_rows}: "
        "rows are repeated within a step"
    )


class RepeatedRows(Dataset[dict[str, Any]]):
    """The rows over and over, `length` in all, so that no epoch ends inside a trial.

    An item has the row's `input_ids`, `labels`, `attention_mask` and its number, `row`; a pack of several
    rows is one item (see `data.packs`), and has their numbers, `rows`, too.

    Args:
        rows: All rows.
        length: Items in all.
        shift: Added to every index (for a rank that shall not get its own rows: see `Faults.data_rank`).
    """

    def __init__(self, rows: list[dict[str, Any]], length: int, shift: int = 0) -> None:
        self._rows = rows
        self._length = length
        self._shift = shift

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self._length:
            raise IndexError(index)  # what ends a `for` over a sequence
        return self._rows[(index + self._shift) % len(self._rows)]


class RowCollator:
    """The job's collator, with the row numbers carried beside its tensors.

    Args:
        collate: Pads a list of features into a batch of tensors.
        carry_rows: Put the row numbers under `ROWS` into the batch; someone must take them out before the
            model runs.
    """

    def __init__(self, collate: Collator, *, carry_rows: bool) -> None:
        self._collate = collate
        self._carry_rows = carry_rows

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows with their numbers -> one batch."""
        inputs = [{k: v for k, v in feature.items() if k not in ("row", "rows")} for feature in features]
        batch = dict(self._collate(inputs))
        if self._carry_rows:
            numbers = [feature.get("rows") or [feature.get("row", 0)] for feature in features]
            batch[ROWS] = torch.tensor([int(row) for rows in numbers for row in rows])
        return batch


def micro_batches(
    rows: list[dict[str, Any]],
    collate: Collator,
    *,
    size: int,
    rank: int,
    world_size: int,
    device: torch.device,
) -> Iterator[dict[str, Any]]:
    """One rank's micro-batches, without end.

    Args:
        rows: All rows.
        collate: The collator; its tensors are moved to `device`, except the row numbers.
        size: Rows per micro-batch.
        rank: This rank.
        world_size: Number of ranks.
        device: Where the model is.
    """
    batch_index = rank
    while True:
        start = batch_index * size
        batch = collate([rows[(start + i) % len(rows)] for i in range(size)])
        yield {
            k: v.to(device) if isinstance(v, torch.Tensor) and k != ROWS else v
            for k, v in batch.items()
        }  # fmt: skip
        batch_index += world_size

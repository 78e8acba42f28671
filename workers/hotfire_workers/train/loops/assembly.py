"""The parts of the job that the preparation made: model, collator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hotfire_workers.train.loops.batches import Collator
from hotfire_workers.train.loops.context import RankContext


def load_job_model(context: RankContext, *, dtype: torch.dtype | None = None) -> nn.Module:
    """The job's model with the job's trainable parameters.

    Args:
        context: The rank.
        dtype: Type of the weights; None: as `from_pretrained` leaves them.
    """
    from hotfire_workers.train.model import load_model, set_trainable

    request = context.request
    model = load_model(
        request.model, request.training, dtype=dtype, allow_remote_code=request.allow_remote_code
    )  # fmt: skip
    model, _ = set_trainable(model, request.training)
    if request.training.get("packing"):
        # With a cache transformers does not look for restarted positions. Trainers train without one, too.
        model.config.use_cache = False
    context.faults.hook_gradients(model)
    return model


def load_collator(context: RankContext) -> Collator:
    """The job's collator, from what the preparation noted; the tokenizer is not needed again."""
    from hotfire_workers.train.collate import make_collator

    path = Path(context.request.prepared_dir, "data.json")
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    collate: Collator = make_collator(context.request.training, data)
    return collate

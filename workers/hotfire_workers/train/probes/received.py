"""How much of the gradient the optimizer really used: read off its own first moment.

After Adam's first step the first moment is (1 - beta1) times the gradient that it was given. Laid beside the
gradient that was measured before the step, this says what clipping left of it *on this rank*. Under Adam
nothing else says so: its update has the same size whatever the gradient is scaled by, and under ZeRO each
rank clips its own shard.
"""

from __future__ import annotations

import math
from typing import Any

import torch

_ADAMS = frozenset({"Adam", "AdamW", "FusedAdam", "DeepSpeedCPUAdam"})
"""What has a first moment of every parameter, and nothing else in it than gradients (see `_decays_apart`)."""


def gradient_used(optimizer: Any, local_norm: float) -> float | None:
    """What the first applied step of an Adam used of this rank's gradient.

    Args:
        optimizer: `engine.optimizer` or a torch optimizer, just after its first applied step.
        local_norm: Norm of this rank's unscaled gradients before the step.

    Returns:
        1 for all of it, less where it was clipped. None where the optimizer is no Adam, or has nothing here.
    """
    inner = getattr(optimizer, "optimizer", optimizer)
    groups = getattr(inner, "param_groups", None)
    if not groups or not math.isfinite(local_norm) or local_norm <= 0:
        return None
    if type(inner).__name__ not in _ADAMS:
        return None
    if any(g.get("weight_decay") for g in groups) and not _decays_apart(inner):
        return None
    betas = {g["betas"][0] for g in groups if g.get("betas")}
    moments = [s["exp_avg"] for s in inner.state.values() if isinstance(s, dict) and "exp_avg" in s]
    if len(betas) != 1 or not moments:
        return None
    fresh = 1.0 - float(betas.pop())
    squares = [torch.linalg.vector_norm(m, dtype=torch.float32).double().square().cpu() for m in moments]
    used = math.sqrt(float(torch.stack(squares).sum())) / fresh if fresh > 0 else math.nan
    return used / local_norm if math.isfinite(used) else None


def _decays_apart(optimizer: Any) -> bool:
    """Weight decay is not mixed into the gradient."""
    return type(optimizer).__name__ == "AdamW" or bool(getattr(optimizer, "adam_w_mode", False))

"""Are the weights numbers, on every rank?"""

from __future__ import annotations

import torch
from torch import distributed as dist
from torch import nn

_MAX_NAMES = 20


def non_finite_parameters(model: nn.Module, device: torch.device) -> list[str]:
    """Names of parameters with a NaN or infinity in them on some rank, at most 20. A collective call.

    Reads the local shard under ZeRO-3, so it needs no gather; finds also rows of an embedding that no input
    uses.
    """
    named = [(n, getattr(p, "ds_tensor", p)) for n, p in model.named_parameters()]
    if not named:
        return []
    flags = torch.tensor(
        [float(not torch.isfinite(tensor.detach()).all()) if tensor.is_floating_point() else 0.0 for _, tensor
        in named], device=device,
    )  # fmt: skip
    if dist.is_initialized():
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    return [name for (name, _), bad in zip(named, flags.tolist(), strict=True) if bad][:_MAX_NAMES]

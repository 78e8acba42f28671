"""Do all ranks hold the same weights, and are those weights numbers?"""

from __future__ import annotations

import torch
from torch import distributed as dist
from torch import nn

_MAX_NAMES = 20


def _whole(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Parameters that every rank holds whole (ZeRO-3's partitioned ones are empty outside of forward)."""
    return [(n, p) for n, p in model.named_parameters() if not hasattr(p, "ds_tensor") and p.numel() > 0]


def diverged_parameters(model: nn.Module, device: torch.device) -> list[str]:
    """Names of replicated parameters that differ between ranks, at most 20. A collective call.

    Compares the sum and the norm of each: equal where the bits are equal, and a difference does not cancel in
        both.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return []
    named = _whole(model)
    if not named:
        return []
    sums = torch.stack([_fingerprint(parameter.detach()) for _, parameter in named]).to(device)
    # NaN compares unequal to itself: a NaN on all ranks is no divergence.
    sums = torch.nan_to_num(sums, nan=1e300, posinf=2e300, neginf=-2e300)
    highest, lowest = sums.clone(), sums.clone()
    dist.all_reduce(highest, op=dist.ReduceOp.MAX)
    dist.all_reduce(lowest, op=dist.ReduceOp.MIN)
    differs = (highest != lowest).any(dim=1).tolist()
    return [name for (name, _), different in zip(named, differs, strict=True) if different][:_MAX_NAMES]


def _fingerprint(tensor: torch.Tensor) -> torch.Tensor:
    """Two numbers of a tensor, shape (2,), float64, the same on every rank that holds the same bits."""
    flat = tensor.flatten()
    return torch.stack(
        [flat.sum(dtype=torch.float64), torch.linalg.vector_norm(flat, dtype=torch.float64)]
    )  # fmt: skip


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

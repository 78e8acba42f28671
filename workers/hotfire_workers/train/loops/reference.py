"""What both references share: plain PyTorch with averaged gradients.

The arithmetic is that of DistributedDataParallel, without its bucket bookkeeping: DDP refuses parameters that
get no gradient and reentrant checkpointing, which are the very cases in which a reference must run to tell
whose fault it is.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import distributed as dist
from torch import nn

from hotfire_workers.train.loops.precision import dtype_of

_BUCKET_ELEMENTS = 16 * 1024 * 1024


def broadcast_parameters(model: nn.Module) -> None:
    """Gives every rank the trainable weights of rank 0, as DDP does."""
    if dist.get_world_size() > 1:
        for parameter in model.parameters():
            if parameter.requires_grad:
                dist.broadcast(parameter.data, src=0)


def average_gradients(model: nn.Module) -> None:
    """Averages the gradients over the ranks in place. A collective call.

    A parameter without a gradient here may have one elsewhere: it takes part with zeros. One that has none on
    any rank stays without.
    """
    if dist.get_world_size() == 1:
        return
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        return
    present = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    dist.all_reduce(present, op=dist.ReduceOp.MAX)
    wanted = [p for p, has in zip(parameters, present.tolist(), strict=True) if has]
    bucket: list[torch.Tensor] = []
    for parameter in wanted:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        bucket.append(parameter.grad)
        if sum(g.numel() for g in bucket) >= _BUCKET_ELEMENTS:
            _average(bucket)
            bucket = []
    if bucket:
        _average(bucket)


def _average(gradients: list[torch.Tensor]) -> None:
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, piece in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(piece.view_as(gradient))


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Mixed precision over fp32 weights; nothing for fp32."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype_of(precision))


def gradient_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler | None:
    """Torch's dynamic loss scaling, for fp16 only."""
    return torch.amp.GradScaler(device.type) if precision == "fp16" else None

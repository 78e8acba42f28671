"""Do all ranks hold the same weights? An exact checksum per parameter, compared by two small reductions.

Healthy replicas are equal to the last bit: every rank gets the same bits from the same reduction or gather.
So the checksum is of the bits, in integer arithmetic, which no order of summation can change.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed as dist
from torch import nn

_MAX_NAMES = 20
_CHUNK_WORDS_CPU, _CHUNK_WORDS = 1 << 16, 1 << 22
"""64-bit words at a time: what stays in a processor's cache; on a device few launches, and 32 MB."""
_STRIDE = 0x9E3779B97F4A7C15 - (1 << 64)
"""An odd number (2^64 over the golden ratio): the weight of a word is a multiple of it, none is 0."""


class ReplicaProbe:
    """Compares the parameters that every rank should hold alike.

    Under ZeRO-3 a parameter is cut into pieces and there is nothing to compare, except for the small ones
    that every rank keeps whole (`stage3_param_persistence_threshold`). Experts and tensor-parallel parts
    differ by intention and are left out.

    Args:
        model: The bare model, after the engine has it.
        device: Where the reductions run.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._device = device
        self._named = [(n, p) for n, p in model.named_parameters() if _is_replicated(p)]
        self._checks: list[dict[str, Any]] = []

    def check(self, step: int, *, trainable_only: bool) -> list[dict[str, Any]]:
        """One comparison. A collective call.

        Args:
            step: Attempts at a step so far, for the record.
            trainable_only: Leave out what never moves.

        Returns:
            All checks so far: {"step", "num_compared", "num_differing", "differing": [{"parameter",
            "ranks"}]}; `ranks` are those that differ from the majority (from rank 0's side where there is
            none), at most 20 names. Empty where there is one rank only.
        """
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return []
        named = [(n, p) for n, p in self._named if p.requires_grad or not trainable_only]
        differing: list[dict[str, Any]] = []
        num_compared = num_differing = 0
        if named:
            sums = torch.zeros(len(named), 2, dtype=torch.int64, device=self._device)
            for index, (_, parameter) in enumerate(named):
                if parameter.numel() == getattr(parameter, "ds_numel", parameter.numel()):
                    sums[index, 0] = checksum(parameter.detach())
                    sums[index, 1] = 1
            low, high = sums.clone(), sums.clone()
            dist.all_reduce(low, op=dist.ReduceOp.MIN)
            dist.all_reduce(high, op=dist.ReduceOp.MAX)
            # A parameter that is not there whole on every rank is not compared.
            compared = low[:, 1] == 1
            num_compared = int(compared.sum())
            unequal = torch.nonzero(compared & (low[:, 0] != high[:, 0])).flatten()
            num_differing = len(unequal)
            if num_differing:
                differing = self._who([n for n, _ in named], unequal[:_MAX_NAMES], sums[:, 0])
        self._checks.append(
            {
                "step": step,
                "num_compared": num_compared,
                "num_differing": num_differing,
                "differing": differing,
            }
        )
        return self._checks

    def _who(self, names: list[str], unequal: torch.Tensor, sums: torch.Tensor) -> list[dict[str, Any]]:
        """Which ranks hold something else than most. A collective call that only a fault pays for."""
        mine = sums[unequal].contiguous()
        all_ranks = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(all_ranks, mine)
        table = torch.stack(all_ranks).tolist()
        found = []
        for column, index in enumerate(unequal.tolist()):
            values = [row[column] for row in table]
            # The first of the most frequent ones: of two ranks, rank 0's.
            usual = max(values, key=values.count)
            ranks = [rank for rank, value in enumerate(values) if value != usual]
            found.append({"parameter": names[index], "ranks": ranks[:_MAX_NAMES]})
        return found


def _is_replicated(parameter: nn.Parameter) -> bool:
    if getattr(parameter, "allreduce", True) is False or getattr(parameter, "tensor_model_parallel", False):
        return False
    return getattr(parameter, "ds_persist", True) if hasattr(parameter, "ds_tensor") else True


def checksum(tensor: torch.Tensor) -> torch.Tensor:
    """A number of the tensor's bits, shape (), int64 (overflow wraps around, alike everywhere)."""
    data = tensor.contiguous().flatten().view(torch.uint8)
    num_words = data.numel() // 8
    total = torch.zeros((), dtype=torch.int64, device=data.device)
    if num_words:
        limit = _CHUNK_WORDS_CPU if data.device.type == "cpu" else _CHUNK_WORDS
        size = min(num_words, limit)
        weights = torch.arange(1, 2 * size, 2, dtype=torch.int64, device=data.device).mul_(_STRIDE)
        for start in range(0, num_words, size):
            piece = data[8 * start : 8 * min(start + size, num_words)]
            if piece.storage_offset() % 8:
                piece = piece.clone()
            words = piece.view(torch.int64)
            total = total * 31 + (words * weights[: words.numel()]).sum()
    rest = data[8 * num_words :].to(torch.int64)
    return total * 31 + (rest * torch.arange(1, rest.numel() + 1, device=data.device)).sum()

"""TEST CODE: faults in the reduced gradients, as a broken reduction would leave them.

They strike between the reduction and our measurement, so that the probe and the engine both see them.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import distributed as dist
from torch import nn

from hotfire_workers.train.probes.layout import Layout


class LostBucket:
    """The reduction of some parameters' gradients did not take place.

    Args:
        fault: {"parameters": regex, "keep": "local" (each rank keeps its own gradient, not averaged) or
            "zeros" (nothing was copied back)}.
    """

    def __init__(self, fault: dict[str, Any]) -> None:
        self._pattern = re.compile(str(fault.get("parameters", ".")))
        self._keeps_local = str(fault.get("keep", "local")) == "local"
        self._chosen: set[int] = set()
        self._own: dict[int, torch.Tensor] = {}

    def watch(self, model: nn.Module) -> None:
        """Remembers the chosen parameters, and from now on this rank's own gradients of them."""
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and self._pattern.search(name):
                self._chosen.add(id(parameter))
                if self._keeps_local:
                    self._hook(parameter)

    def _hook(self, parameter: nn.Parameter) -> None:
        def keep(gradient: torch.Tensor) -> None:
            flat = gradient.detach().float().flatten()
            before = self._own.get(id(parameter))
            self._own[id(parameter)] = flat.clone() if before is None else before + flat

        parameter.register_hook(keep)

    def strike(self, layout: Layout, *, due: bool) -> None:
        """Overwrites this rank's pieces, if it is due; forgets this step's gradients either way."""
        for parameter, _, piece in layout.gradients() if due else ():
            if id(parameter) not in self._chosen:
                continue
            if not self._keeps_local:
                piece.zero_()
            elif (own := self._own.get(id(parameter))) is not None:
                piece.copy_(_shard(parameter, piece, own).view_as(piece))
        self._own = {}


class StaleGradient:
    """This rank steps with the gradient of the step before: its buffer was read before it was written."""

    def __init__(self) -> None:
        self._before: list[torch.Tensor] = []

    def strike(self, layout: Layout, *, due: bool) -> None:
        """Puts the last step's pieces in place of this step's, if it is due."""
        pieces = [piece for _, _, piece in layout.gradients()]
        fresh = [piece.detach().clone() for piece in pieces]
        if due and len(self._before) == len(pieces):
            for piece, old in zip(pieces, self._before, strict=True):
                piece.copy_(old)
        self._before = fresh


def clip_alone(engine: Any, value: float) -> None:
    """Lets this rank's optimizer clip at another value than the others do; the norm stays the global one."""
    if hasattr(engine.optimizer, "clip_grad"):
        engine.optimizer.clip_grad = value
    else:  # stage 0 in fp32: the engine clips for the plain torch optimizer
        engine.gradient_clipping = lambda: value


def _shard(parameter: nn.Parameter, piece: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """The part of a whole flat gradient that belongs to this rank's piece, padded with zeros."""
    if piece.numel() == whole.numel():
        return whole.to(piece.dtype)
    if hasattr(parameter, "ds_tensor"):
        start = dist.get_rank() * piece.numel()
    else:
        # DeepSpeed has no public name for where a shard begins.
        start = parameter._hp_mapping.lp_fragment_address.start  # noqa: SLF001
    part = whole[start : start + piece.numel()].to(piece.dtype)
    return torch.nn.functional.pad(part, (0, piece.numel() - part.numel()))

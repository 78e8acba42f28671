"""Parameters that get no gradient: none in this step, none in any step, and those that no graph reaches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import distributed as dist

from hotfire_workers.train.probes.gradients import Parameters


class SilenceProbe:
    """Follows which parameters ever get a gradient other than zero.

    A zero gradient and no gradient are different faults (a dead branch, or a parameter the loss does not
    depend on): a post-accumulate hook per parameter tells them apart. Each hook takes itself away when it
    fires, so it costs nothing after the first backward pass.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self.never_loud = torch.ones(len(parameters), dtype=torch.bool)
        self._reached = torch.zeros(len(parameters), dtype=torch.float32)
        for position, parameter in enumerate(parameters.tensors):
            self._hook(position, parameter)

    def _hook(self, position: int, parameter: torch.nn.Parameter) -> None:
        handles: list[Any] = []

        def fired(_: torch.Tensor) -> None:
            self._reached[position] = 1.0
            handles.pop().remove()

        hook: Callable[..., Any] = parameter.register_post_accumulate_grad_hook
        handles.append(hook(fired))

    def record(self, squares: torch.Tensor) -> torch.Tensor:
        """Takes one step's sums of squares.

        Args:
            squares: Shape (num parameters,), over all ranks.

        Returns:
            Mask of the parameters that are silent in this step. A non-finite gradient is not silent.
        """
        silent = squares == 0
        self.never_loud &= silent
        return silent

    def reached(self, device: torch.device) -> torch.Tensor:
        """Mask of the parameters that some graph on some rank has reached so far. A collective call."""
        flags = self._reached.to(device)
        if dist.is_initialized():
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return flags.cpu() > 0

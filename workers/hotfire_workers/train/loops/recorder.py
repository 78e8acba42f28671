"""Collects one step of one rank and writes its line."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed as dist
from torch import nn

from hotfire_workers.train.loops.context import RankContext
from hotfire_workers.train.probes import loss as loss_probe
from hotfire_workers.train.probes.modules import first_non_finite_module


class StepRecorder:
    """Micro-batches, losses and times of the step that runs now.

    Args:
        context: The rank.
        mean_over_micro_batches: The step's loss is the mean of its micro-batches' losses (engine loop); else
            their sum, because each is a share already (HF Trainer).
    """

    def __init__(self, context: RankContext, *, mean_over_micro_batches: bool) -> None:
        self.context = context
        self.writer = context.writer
        self._mean = mean_over_micro_batches
        self._micro_batches: list[dict[str, Any]] = []
        self._losses: list[torch.Tensor] = []
        self._suspect: dict[str, Any] | None = None
        self._started_s = time.perf_counter()
        self._module_looked_for = False
        self.fields: dict[str, Any] = {}

    def start(self) -> None:
        """A new step begins."""
        self._micro_batches, self._losses, self.fields = [], [], {}
        self._suspect = None
        self._started_s = time.perf_counter()

    @property
    def num_micro_batches(self) -> int:
        """Micro-batches of this step so far."""
        return len(self._micro_batches)

    def micro_batch(self, batch: dict[str, Any], rows: list[int]) -> None:
        """A micro-batch is about to run; faults of the tests strike here."""
        self._micro_batches.append(loss_probe.describe(batch, rows))
        self._suspect = batch if self._suspect is None else self._suspect
        self.context.writer.heartbeat()
        self.context.faults.before_micro_batch(self.context.pace.step, self.num_micro_batches)

    def loss(self, value: torch.Tensor, batch: dict[str, Any]) -> None:
        """Its raw loss, before anything filters it."""
        value = value.detach()
        self._losses.append(value)
        number = float(value)
        finite_so_far = all(m["loss"] is None or math.isfinite(m["loss"]) for m in self._micro_batches)
        self._micro_batches[-1]["loss"] = number
        if finite_so_far and not math.isfinite(number):
            self._suspect = batch

    @property
    def non_finite_loss(self) -> bool:
        """A micro-batch of this rank had a non-finite loss."""
        return any(m["loss"] is not None and not math.isfinite(m["loss"]) for m in self._micro_batches)

    def find_module(self, model: nn.Module, forward: Callable[[dict[str, Any]], Any]) -> None:
        """Repeats the suspect micro-batch's forward pass once per trial and reports the first bad module.

        Call it on every rank of a step in which some rank's loss was not finite.
        """
        if self._module_looked_for or self._suspect is None:
            return
        self._module_looked_for = True
        batch = self._suspect
        found = first_non_finite_module(model, lambda: forward(batch))
        finder = torch.tensor(
            float(self.context.rank if found is not None else self.context.world_size),
            device=self.context.device,
        )  # fmt: skip
        dist.all_reduce(finder, op=dist.ReduceOp.MIN)
        if self.context.rank == 0 and int(finder) == self.context.world_size:
            self.context.writer.line("facts", facts={"forward_repeats_finite": True})
        if found is not None and int(finder) == self.context.rank:
            facts = {
                "first_non_finite_module": found.name,
                "non_finite_module": found.record() | {"step": self.context.pace.step},
            }
            self.context.writer.line("facts", facts=facts)

    def stop_clock(self) -> None:
        """The step is done; what follows is bookkeeping."""
        self.fields["step_seconds"] = time.perf_counter() - self._started_s

    def write(self, **fields: Any) -> None:
        """Writes the step's line."""
        losses = [m["loss"] for m in self._micro_batches if m["loss"] is not None]
        total = sum(losses) if losses else None
        if total is not None and self._mean:
            total /= len(losses)
        self.context.writer.line(
            "step",
            **{
                "loss": total,
                "micro_batches": self._micro_batches,
                "num_supervised_tokens": loss_probe.total_supervised(self._micro_batches),
                "logged_loss": None,
                "logged_grad_norm": None,
                **self.fields,
                **fields,
            },
        )

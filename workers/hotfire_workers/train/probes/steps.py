"""All probes of one optimizer step, called by the hook around it: `before_step`, the step, `after_step`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hotfire_workers.train.loops.context import RankContext
from hotfire_workers.train.probes.gradients import GradientNorms, Parameters, measure_gradients
from hotfire_workers.train.probes.groups import GroupProbe
from hotfire_workers.train.probes.layout import Layout
from hotfire_workers.train.probes.received import gradient_used
from hotfire_workers.train.probes.replicas import ReplicaProbe
from hotfire_workers.train.probes.silent import SilenceProbe
from hotfire_workers.train.probes.updates import Update, UpdateProbe


@dataclass(slots=True)
class _LastApplied:
    """What the groups line is made of."""

    squares: torch.Tensor
    silent: torch.Tensor


class StepProbe:
    """Measures every step of one rank and moves the trial's pace on.

    Args:
        context: The rank.
        model: The bare model, its parameters as the engine has them.
        layout: Where the optimizer keeps things; None: its class is not known, and only what needs no
            gradients is recorded.
        optimizer: Whatever has `param_groups`, for the learning rate.
        peak_learning_rates: The schedule's highest rate per parameter group.
    """

    def __init__(
        self,
        context: RankContext,
        model: nn.Module,
        layout: Layout | None,
        optimizer: Any,
        peak_learning_rates: list[float],
    ) -> None:
        self._context = context
        self._layout = layout
        self._optimizer = optimizer
        self._peaks = peak_learning_rates
        self._parameters = Parameters(model)
        self._silence = SilenceProbe(self._parameters)
        self._groups = GroupProbe(self._parameters)
        self._updates = UpdateProbe(layout, self._parameters, context.device) if layout is not None else None
        self._replicas = ReplicaProbe(model, context.device)
        self._norms: GradientNorms | None = None
        self._silent: torch.Tensor | None = None
        self._update: Update | None = None
        self._last: _LastApplied | None = None
        self._skipped = 0
        self._measuring = False
        self._loss_scale: float | None = None

    @property
    def some_loss_not_finite(self) -> bool:
        """On some rank, in the step that `before_step` has just measured."""
        return self._norms is not None and self._norms.non_finite_loss

    def before_step(self, *, non_finite_loss: bool) -> dict[str, Any]:
        """Between the last backward pass and the step. A collective call.

        Overrides the learning rate at the peak phase, and returns the fields of the step's line known so far.

        Args:
            non_finite_loss: A micro-batch of this rank had a non-finite loss.
        """
        pace, layout = self._context.pace, self._layout
        if pace.at_peak:
            for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=False):
                group["lr"] = peak
        self._loss_scale = layout.scale() if layout is not None else None
        fields: dict[str, Any] = {
            "step": pace.step,
            "phase": "PEAK" if pace.at_peak else "SCHEDULED",
            "learning_rate": float(self._optimizer.param_groups[0]["lr"]),
            "loss_scale": self._loss_scale,
            "grad_norm_measured": None,
            "num_silent_parameters": None,
            "first_non_finite_parameter": None,
            "local_grad_norm": None,
        }
        self._norms = None
        if layout is not None:
            faults = self._context.faults
            faults.before_measurement(layout, pace.step)
            self._norms = measure_gradients(
                layout,
                self._parameters,
                self._context.device,
                non_finite_loss=non_finite_loss,
                local_factor=faults.probe_factor(),
            )
            self._silent = self._silence.record(self._norms.squares)
            fields["grad_norm_measured"] = self._norms.total
            fields["num_silent_parameters"] = int(self._silent.sum())
            fields["first_non_finite_parameter"] = self._norms.first_non_finite
            fields["local_grad_norm"] = self._norms.local
            faults.after_measurement(piece for _, _, piece in layout.gradients())
        self._measuring = pace.measures_update and self._updates is not None
        if self._measuring and self._updates is not None:
            self._updates.before()
        return fields

    def after_step(self, *, applied: bool, grad_norm: float | None) -> dict[str, Any]:
        """Just after the step. A collective call on the first applied step and where movement is measured.

        Args:
            applied: The optimizer moved (it was not skipped for overflow).
            grad_norm: The norm that the engine reports.

        Returns:
            The other fields of the step's line.
        """
        self._skipped += int(not applied)
        update: Update | None = None
        if self._measuring and self._updates is not None:
            update = self._updates.after()
            if applied:
                self._update = update
        if applied and self._norms is not None and self._silent is not None:
            self._last = _LastApplied(self._norms.squares, self._silent)
        is_first = applied and self._context.pace.applied == 0
        used = gradient_used(self._optimizer, self._norms.local) if is_first and self._norms else None
        self._context.pace.record(
            applied=applied, loss_scale=self._loss_scale, finite=not self.some_loss_not_finite
        )
        if update is not None and applied:
            self.write_groups()
        if is_first:
            self._compare_replicas(trainable_only=True)
        return {
            "applied": applied,
            "grad_norm": grad_norm,
            "skipped_steps": self._skipped,
            "update_ratio": update.ratio if update is not None else None,
            "num_moved": update.num_moved if update is not None else None,
            "num_decayed_only": update.num_decayed_only if update is not None else None,
            # A skipped step has no update that could be lost.
            "rounded_away_share": update.rounded_away_share if update is not None and applied else None,
            "gradient_used": used,
        }

    def finish(self) -> None:
        """After the last step: the groups as they ended, the replicas, how much stood still. Collective."""
        self.write_groups()
        self._compare_replicas(trainable_only=False)
        if self._context.rank == 0 and self._update is not None and self._layout is not None:
            facts = {
                "unchanged_element_share": self._update.unchanged_share,
                "master_dtypes": sorted(
                    {str(piece.dtype).removeprefix("torch.") for _, _, piece in self._layout.masters()}
                ),
            }
            self._context.writer.line("facts", facts=facts)

    def _compare_replicas(self, *, trainable_only: bool) -> None:
        """Do all ranks hold the same weights? A collective call."""
        checks = self._replicas.check(self._context.pace.attempts, trainable_only=trainable_only)
        if checks and self._context.rank == 0:
            self._context.writer.line("facts", facts={"replicas": checks})

    def write_groups(self) -> None:
        """Writes the groups as of the last applied step, on rank 0. A collective call."""
        if self._last is None:
            return
        reached = self._silence.reached(self._context.device)
        if self._context.rank == 0:
            groups = self._groups.summary(
                squares=self._last.squares,
                silent=self._last.silent,
                never_loud=self._silence.never_loud,
                reached=reached,
                update=self._update,
            )
            self._context.writer.line("groups", groups=groups)

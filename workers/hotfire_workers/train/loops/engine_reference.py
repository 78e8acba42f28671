"""The reference of the engine loop: the same loop in plain PyTorch.

fp32 weights, autocast for 16 bit, torch's gradient scaler for fp16; one parameter group; the loss normalised
as the engine does it (mean over the micro-batches of each one's own mean).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hotfire_workers.train.loops.context import RankContext
from hotfire_workers.train.loops.facts import write_facts
from hotfire_workers.train.loops.recipe import Recipe
from hotfire_workers.train.loops.recorder import StepRecorder
from hotfire_workers.train.loops.reference import (
    autocast,
    average_gradients,
    broadcast_parameters,
    gradient_scaler,
)
from hotfire_workers.train.loops.schedule import peak_learning_rates
from hotfire_workers.train.probes.layout import plain_layout
from hotfire_workers.train.probes.steps import StepProbe


class TorchDriver:
    """The loop without DeepSpeed. Arguments as `EngineDriver`'s."""

    def __init__(
        self, context: RankContext, model: nn.Module, recipe: Recipe, recorder: StepRecorder
    ) -> None:
        self._context, self._recipe, self._recorder = context, recipe, recorder
        self.model = model.to(context.device)
        broadcast_parameters(self.model)
        self._trainable = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = recipe.make_optimizer(self._trainable)
        self._scheduler = recipe.schedule(self.optimizer) if recipe.schedule is not None else None
        self._scaler = gradient_scaler(recipe.precision, context.device)
        self.accumulation = context.request.gradient_accumulation_steps
        self._num_accumulated = 0
        peaks = peak_learning_rates(recipe.schedule, recipe.base_rates(self.optimizer), context.total_steps)
        write_facts(
            context,
            self.model,
            engine=None,
            dtype=recipe.precision,
            effective_config=None,
            optimizer=self.optimizer,
            gradient_clipping=recipe.clipping,
            peak_learning_rates=peaks,
            measured=True,
        )
        self.probe: StepProbe | None = None
        if context.request.probes:
            self.probe = StepProbe(
                context, self.model, plain_layout(self.optimizer, self._scale), self.optimizer, peaks
            )  # fmt: skip

    def _scale(self) -> float:
        return float(self._scaler.get_scale()) if self._scaler is not None else 1.0

    def forward(self, batch: dict[str, Any]) -> Any:
        """Under autocast."""
        with autocast(self._recipe.precision, self._context.device):
            return self.model(**batch)

    def backward(self, loss: torch.Tensor) -> None:
        """Divides by the accumulation steps, as the engine does."""
        loss = loss / self.accumulation
        (self._scaler.scale(loss) if self._scaler is not None else loss).backward()
        self._num_accumulated += 1

    def step(self) -> bool:
        """Averages, clips and steps when the accumulation is complete."""
        if self._num_accumulated < self.accumulation:
            return False
        self._num_accumulated = 0
        average_gradients(self.model)
        if self.probe is not None:
            self._recorder.fields |= self.probe.before_step(non_finite_loss=self._recorder.non_finite_loss)
            if self.probe.some_loss_not_finite:
                self._recorder.find_module(self.model, self.forward)
        if self._scaler is not None:
            self._scaler.unscale_(self.optimizer)
        clipping = self._recipe.clipping
        norm = torch.nn.utils.clip_grad_norm_(self._trainable, clipping if clipping > 0 else float("inf"))
        applied = self._step_optimizer()
        if self.probe is not None:
            self._recorder.fields |= self.probe.after_step(applied=applied, grad_norm=float(norm))
        self.optimizer.zero_grad(set_to_none=True)
        if applied and self._scheduler is not None:
            self._scheduler.step()
        return applied

    def _step_optimizer(self) -> bool:
        if self._scaler is None:
            self.optimizer.step()
            return True
        scale = self._scaler.get_scale()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        # A skipped step is only told by the scale going down.
        return self._scaler.get_scale() >= scale

"""The reference of LOOP_TRAINER: the same Trainer, arguments, rows and ranks, without DeepSpeed.

Optimizer, schedule, clipping value and precision come from the candidate's config and nothing else. The
weights are fp32 and the precision is autocast's: loaded in bf16, a model trained without DeepSpeed has no
master weights and is no reference.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Trainer

from hotfire_workers.train.loops.arguments import make_training_arguments, with_defaults
from hotfire_workers.train.loops.assembly import load_job_model
from hotfire_workers.train.loops.context import RankContext
from hotfire_workers.train.loops.facts import write_facts
from hotfire_workers.train.loops.hooks import scalar
from hotfire_workers.train.loops.recipe import Recipe, recipe_of
from hotfire_workers.train.loops.reference import average_gradients, broadcast_parameters
from hotfire_workers.train.loops.schedule import peak_learning_rates
from hotfire_workers.train.loops.trainer import ProbingCallback, build_trainer
from hotfire_workers.train.probes.layout import plain_layout
from hotfire_workers.train.probes.steps import StepProbe


def run_trainer_reference(context: RankContext, rows: list[dict[str, Any]]) -> None:
    """Runs the reference of the HF Trainer."""
    writer, request = context.writer, context.request
    with writer.during("arguments"):
        given = with_defaults(request.training)
        recipe = recipe_of(request.reference_config or {}, given, context.total_steps, loop="TRAINER")
        on_cpu = context.device.type == "cpu"
        arguments = make_training_arguments(
            context,
            deepspeed=None,
            per_device_train_batch_size=request.micro_batch_size,
            gradient_accumulation_steps=request.gradient_accumulation_steps,
            bf16=recipe.precision == "bf16",
            # accelerate refuses fp16 on a CPU: there it is switched on below it.
            fp16=recipe.precision == "fp16" and not on_cpu,
            max_grad_norm=recipe.clipping,
            optim=_plain(str(getattr(given["optim"], "value", given["optim"]))),
        )
    with writer.during("model"):
        model = load_job_model(context, dtype=torch.float32)
        broadcast_parameters(model.to(context.device))
    writer.enter("engine")
    trainer = build_trainer(context, rows, model, arguments)
    if recipe.precision == "fp16" and on_cpu:
        _switch_on_fp16(trainer)
    _leave_out_ddp(trainer)
    if recipe.has_optimizer_section:
        _use_optimizer(trainer, recipe)
    if recipe.has_scheduler_section:
        _use_schedule(trainer, recipe)
    ReferenceCallback(context, trainer, recipe).train()


def _plain(optim: str) -> str:
    """Fused AdamW hides from accelerate that the scaler skipped a step: the schedule would then run on."""
    return "adamw_torch" if optim == "adamw_torch_fused" else optim


def _switch_on_fp16(trainer: Trainer) -> None:
    """fp16 autocast and loss scaling on a CPU. torch has both; accelerate looks for a GPU first."""
    trainer.accelerator.state._mixed_precision = "fp16"  # noqa: SLF001
    trainer.accelerator.native_amp = True
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu")


def _leave_out_ddp(trainer: Trainer) -> None:
    """Keeps accelerate from wrapping the model in DDP; the gradients are averaged in `ReferenceCallback`."""
    prepare_model = trainer.accelerator.prepare_model

    def prepare(model: Any, device_placement: Any = None, **_: Any) -> Any:
        return prepare_model(model, device_placement=device_placement, evaluation_mode=True)

    trainer.accelerator.prepare_model = prepare


def _use_optimizer(trainer: Trainer, recipe: Recipe) -> None:
    """The config's optimizer section is one group, as DeepSpeed makes it: decay on norms and biases too."""

    def create(_model: Any = None) -> torch.optim.Optimizer:
        if trainer.optimizer is None:
            trainer.optimizer = recipe.make_optimizer(
                p for p in trainer.model.parameters() if p.requires_grad
            )
        return trainer.optimizer

    trainer.create_optimizer = create


def _use_schedule(trainer: Trainer, recipe: Recipe) -> None:
    """The config's scheduler section, with DeepSpeed's own class on the reference's optimizer."""

    def create(num_training_steps: int, optimizer: Any = None) -> Any:  # noqa: ARG001
        if trainer.lr_scheduler is None and recipe.schedule is not None:
            trainer.lr_scheduler = recipe.schedule(_innermost(optimizer or trainer.optimizer))
        return trainer.lr_scheduler

    trainer.create_scheduler = create


def _innermost(optimizer: Any) -> torch.optim.Optimizer:
    """The torch optimizer inside accelerate's wrapper."""
    while hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer


class ReferenceCallback(ProbingCallback):
    """The probes of the Trainer without DeepSpeed. They sit around its clipping, before the step."""

    def __init__(self, context: RankContext, trainer: Trainer, recipe: Recipe) -> None:
        super().__init__(context, trainer)
        self._recipe = recipe
        self._grad_norm: float | None = None

    def set_up(self) -> None:
        """Wraps `accelerator.clip_grad_norm_`: the Trainer calls it once per step, clipping or not."""
        context, trainer, recipe = self.context, self.trainer, self._recipe
        optimizer = _innermost(trainer.optimizer)
        accelerator = trainer.accelerator
        peaks = peak_learning_rates(recipe.schedule, recipe.base_rates(optimizer), context.total_steps)
        write_facts(
            context,
            trainer.model,
            engine=None,
            dtype=recipe.precision,
            effective_config=None,
            optimizer=optimizer,
            gradient_clipping=recipe.clipping,
            peak_learning_rates=peaks,
            measured=True,
        )
        if context.request.probes:
            scaler = accelerator.scaler
            layout = plain_layout(optimizer, (lambda: float(scaler.get_scale())) if scaler else lambda: 1.0)
            self.probe = StepProbe(context, trainer.model, layout, optimizer, peaks)
        clip = accelerator.clip_grad_norm_

        def measured(*args: Any, **kwargs: Any) -> Any:
            context.writer.doing = "step"
            average_gradients(trainer.model)
            if self.probe is not None:
                self._before_step()
            norm = clip(*args, **kwargs)
            self._grad_norm = scalar(norm)
            return norm

        accelerator.clip_grad_norm_ = measured

    def _before_step(self) -> None:
        probe, model = self.probe, self.trainer.model
        if probe is None:
            return
        self.recorder.fields |= probe.before_step(non_finite_loss=self.recorder.non_finite_loss)
        if probe.some_loss_not_finite:
            self.recorder.find_module(model, lambda batch: model(**batch))

    def on_optimizer_step(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """The optimizer has stepped, or the gradient scaler has skipped it."""
        if self.probe is not None:
            self.recorder.fields |= self.probe.after_step(
                applied=self.was_applied(), grad_norm=self._grad_norm
            )

    def was_applied(self) -> bool:
        """Without a gradient scaler every step is applied, one of NaN too."""
        return not self.trainer.accelerator.optimizer_step_was_skipped

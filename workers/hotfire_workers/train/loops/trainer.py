"""LOOP_TRAINER: the real HF Trainer with its DeepSpeed integration.

Nothing of the Trainer is replaced. The probes hang on a callback and on wrappers of three bound methods of
*this* trainer and engine: `trainer.training_step` (the raw loss of every micro-batch, before
`logging_nan_inf_filter` swallows it), `trainer._get_train_sampler` (rows in the sample's order) and
`engine._take_model_step` (after the reduction, before clipping and the step: the callback
`on_pre_optimizer_step` comes too late under DeepSpeed).
"""

from __future__ import annotations

from typing import Any

from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback

from hotfire_workers.train.loops.adapt import adapt_config
from hotfire_workers.train.loops.arguments import make_training_arguments, with_defaults
from hotfire_workers.train.loops.assembly import load_collator, load_job_model
from hotfire_workers.train.loops.batches import RepeatedRows, RowCollator
from hotfire_workers.train.loops.context import RankContext
from hotfire_workers.train.loops.facts import write_facts, write_last_facts
from hotfire_workers.train.loops.hooks import hook_engine, scalar
from hotfire_workers.train.loops.recipe import recipe_of
from hotfire_workers.train.loops.recorder import StepRecorder
from hotfire_workers.train.loops.schedule import peak_learning_rates
from hotfire_workers.train.probes.layout import layout_of
from hotfire_workers.train.probes.loss import take_rows
from hotfire_workers.train.probes.steps import StepProbe


def run_trainer(context: RankContext, rows: list[dict[str, Any]]) -> None:
    """Runs the Trainer: under DeepSpeed, or without it when the request is a reference."""
    if context.is_reference:
        from hotfire_workers.train.loops.trainer_reference import run_trainer_reference

        run_trainer_reference(context, rows)
        return
    writer = context.writer
    with writer.during("arguments"):
        config = adapt_config(context, context.request.deepspeed or {})
        arguments = make_training_arguments(context, deepspeed=config)
    with writer.during("model"):
        model = load_job_model(context)
    writer.enter("engine")
    EngineCallback(context, build_trainer(context, rows, model, arguments)).train()


def build_trainer(context: RankContext, rows: list[dict[str, Any]], model: Any, arguments: Any) -> Trainer:
    """The Trainer over the sample's rows, in their order."""
    request = context.request
    rows_per_step = request.micro_batch_size * request.gradient_accumulation_steps * context.world_size
    trainer = Trainer(
        model=model,
        args=arguments,
        data_collator=RowCollator(load_collator(context), carry_rows=request.probes),
        train_dataset=RepeatedRows(
            rows,
            rows_per_step * (request.max_attempts + 1),
            request.micro_batch_size * (context.faults.data_rank - context.rank),
        ),
    )
    in_order = SequentialSampler(trainer.train_dataset)
    trainer._get_train_sampler = lambda *_args, **_kwargs: in_order  # noqa: SLF001
    return trainer


class ProbingCallback(TrainerCallback):
    """What both Trainer loops share: the rhythm of a trial, raw losses, the lines.

    Subclasses build a `StepProbe` in `on_train_begin` and call it around the optimizer's step.
    """

    def __init__(self, context: RankContext, trainer: Trainer) -> None:
        self.context = context
        self.trainer = trainer
        self.recorder = StepRecorder(context, mean_over_micro_batches=False)
        self.probe: StepProbe | None = None
        self._pending = False
        trainer.add_callback(self)
        if context.request.probes:
            self._watch_training_step()
        if context.request.faults:
            self._inject_faults()

    def train(self) -> None:
        """Runs the training and ends its phases: "engine" until the first step, then "steps"."""
        self.trainer.train()
        self._flush()
        if self.probe is not None:
            self.probe.finish()
        write_last_facts(self.context, self.trainer.model)
        self.context.writer.leave()

    def _watch_training_step(self) -> None:
        training_step = self.trainer.training_step

        def watched(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            self.context.writer.doing = "forward"
            self.recorder.micro_batch(inputs, take_rows(inputs))
            loss = training_step(model, inputs, *args, **kwargs)
            self.recorder.loss(loss, inputs)
            return loss

        self.trainer.training_step = watched
        backward = self.trainer.accelerator.backward

        def named(*args: Any, **kwargs: Any) -> Any:
            self.context.writer.doing = "backward"
            return backward(*args, **kwargs)

        self.trainer.accelerator.backward = named

    def _inject_faults(self) -> None:
        """TEST CODE: lets a fault change the loss before the backward pass."""
        compute_loss = self.trainer.compute_loss

        def faulty(*args: Any, **kwargs: Any) -> Any:
            loss = compute_loss(*args, **kwargs)
            return self.context.faults.on_loss(loss, self.context.pace.step, self.recorder.num_micro_batches)

        self.trainer.compute_loss = faulty

    def set_up(self) -> None:
        """Writes the facts and builds the probe; model, optimizer and engine are ready."""
        raise NotImplementedError

    def was_applied(self) -> bool:
        """Whether the step that has just ended moved the weights."""
        raise NotImplementedError

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Model, optimizer and engine exist; the first batch has not been drawn."""
        # The schedule is made by now: a job of fewer steps than the trial must not end it.
        state.max_steps = max(state.max_steps, self.context.request.max_attempts)
        self.set_up()
        self.context.writer.enter("steps")

    def on_step_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """The batches of a step are there."""
        self._flush()
        self.recorder.start()
        self._pending = True

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        """The optimizer has stepped; the Trainer logs next."""
        self.recorder.stop_clock()
        self.context.writer.doing = None
        if self.probe is None:  # no probes: the Trainer's own account is all there is
            applied = self.was_applied()
            self.recorder.fields |= {"step": self.context.pace.step, "applied": applied}
            self.context.pace.record(applied=applied)
        if self.context.pace.finished:
            control.should_training_stop = True

    def on_log(
        self, _args: Any, _state: Any, _control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """What the Trainer logs of the step that has just ended."""
        if self._pending and logs is not None and "loss" in logs:
            self._flush(logs)

    def _flush(self, logs: dict[str, Any] | None = None) -> None:
        if not self._pending:
            return
        self._pending = False
        logs = logs or {}
        logged: dict[str, Any] = {
            "logged_loss": scalar(logs.get("loss")),
            "logged_grad_norm": scalar(logs.get("grad_norm")),
            "logged_learning_rate": scalar(logs.get("learning_rate")),
        }
        if self.probe is None:
            logged |= {
                "loss": logged["logged_loss"],
                "phase": "SCHEDULED",
                "grad_norm": logged["logged_grad_norm"],
                "learning_rate": scalar(logs.get("learning_rate")),
            }
        self.recorder.write(**logged)


class EngineCallback(ProbingCallback):
    """The probes of the Trainer under DeepSpeed."""

    def set_up(self) -> None:
        """Hooks the engine's step."""
        context, trainer = self.context, self.trainer
        engine = trainer.model_wrapped
        optimizer = engine.optimizer
        layout = layout_of(optimizer, getattr(engine, "torch_autocast_z0_gradscaler", None))
        config = trainer.accelerator.state.deepspeed_plugin.deepspeed_config
        recipe = recipe_of(
            config, with_defaults(context.request.training), context.total_steps, loop="TRAINER"
        )
        peaks = peak_learning_rates(recipe.schedule, recipe.base_rates(optimizer), context.total_steps)
        write_facts(
            context,
            engine.module,
            engine=engine,
            dtype=recipe.precision,
            effective_config=config,
            optimizer=engine.basic_optimizer,
            gradient_clipping=float(engine.gradient_clipping()),
            peak_learning_rates=peaks,
            measured=layout is not None,
        )
        if not context.request.probes:
            return
        self.probe = StepProbe(context, engine.module, layout, optimizer, peaks)
        hook_engine(engine, self.probe, self.recorder)

    def was_applied(self) -> bool:
        """As the engine says."""
        return bool(self.trainer.model_wrapped.was_step_applied())

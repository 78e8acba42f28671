"""LOOP_DEEPSPEED and LOOP_ACCELERATE: our own loop on `deepspeed.initialize`.

    loss = engine(**batch).loss; engine.backward(loss); engine.step()

LOOP_DEEPSPEED hands the config to DeepSpeed as it is: nobody resolves `"auto"`. LOOP_ACCELERATE lets a real
`Accelerator` resolve and prepare it first. Where the config has no `optimizer` or `scheduler`, the loop
brings those of the training arguments, as a client. The reference of both is `TorchDriver`, the same loop in
plain PyTorch.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn

from hotfire_workers.train.loops.adapt import adapt_config
from hotfire_workers.train.loops.arguments import OURS, checkpointing, with_defaults
from hotfire_workers.train.loops.assembly import load_collator, load_job_model
from hotfire_workers.train.loops.batches import RowCollator, micro_batches
from hotfire_workers.train.loops.context import RankContext
from hotfire_workers.train.loops.facts import write_facts, write_last_facts
from hotfire_workers.train.loops.hooks import hook_engine
from hotfire_workers.train.loops.recipe import Recipe, recipe_of
from hotfire_workers.train.loops.recorder import StepRecorder
from hotfire_workers.train.loops.schedule import peak_learning_rates
from hotfire_workers.train.probes.layout import layout_of
from hotfire_workers.train.probes.loss import take_rows
from hotfire_workers.train.probes.steps import StepProbe

# Arguments that this loop applies; of the others it lists those that were given.
_APPLIED = frozenset(
    {
        "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type",
        "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio", "max_steps", "num_train_epochs",
        "max_grad_norm", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "bf16", "fp16",
        "gradient_checkpointing", "gradient_checkpointing_kwargs", "activation_checkpointing",
        "activation_checkpointing_kwargs", "seed", "label_smoothing_factor",
    }
)  # fmt: skip


class Driver(Protocol):
    """One micro-batch after another; the optimizer steps when enough have accumulated."""

    model: nn.Module
    """The bare model."""
    accumulation: int
    probe: StepProbe | None

    def forward(self, batch: dict[str, Any]) -> Any:
        """The model's output."""

    def backward(self, loss: torch.Tensor) -> None:
        """Backward pass of one micro-batch's loss."""

    def step(self) -> bool:
        """Steps if this was the last micro-batch of a step. Returns whether an applied step took place."""


def run_engine(context: RankContext, rows: list[dict[str, Any]]) -> None:
    """Runs the engine loop, or its reference when the request is one."""
    writer, request = context.writer, context.request
    recorder = StepRecorder(context, mean_over_micro_batches=True)
    with writer.during("arguments"):
        arguments = with_defaults(request.training)
        if request.loop == "DEEPSPEED" and not request.training.get("lr_scheduler_type"):
            # The Trainer's default is its own: in a loop over deepspeed.initialize nobody makes a schedule.
            arguments["lr_scheduler_type"] = "constant"
        context.ignored_arguments += [
            name for name, value in request.training.items()
            if value is not None and name not in _APPLIED and name not in OURS
        ]  # fmt: skip
        config = None if context.is_reference else adapt_config(context, request.deepspeed or {})
        recipe = recipe_of(
            config or request.reference_config or {}, arguments, context.total_steps, loop=request.loop
        )
        accelerator = _make_accelerator(context, config) if config and request.loop == "ACCELERATE" else None
    with writer.during("model"):
        model = load_job_model(context, dtype=torch.float32 if context.is_reference else None)
        _enable_checkpointing(model, request.training)
    with writer.during("engine"):
        driver: Driver
        if config is None:
            from hotfire_workers.train.loops.engine_reference import TorchDriver

            driver = TorchDriver(context, model, recipe, recorder)
        else:
            driver = EngineDriver(context, model, config, recipe, recorder, accelerator)
        driver.model.train()
    with writer.during("steps"):
        smoothing = float(arguments["label_smoothing_factor"] or 0.0)
        _run_steps(context, rows, driver, recorder, smoothing=smoothing)
        if driver.probe is not None:
            driver.probe.finish()
        write_last_facts(context, driver.model)


def _enable_checkpointing(model: Any, training: dict[str, Any]) -> None:
    wanted, kwargs = checkpointing(training)
    if wanted:
        model.config.use_cache = False
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=kwargs)


def _run_steps(
    context: RankContext,
    rows: list[dict[str, Any]],
    driver: Driver,
    recorder: StepRecorder,
    *,
    smoothing: float,
) -> None:
    from transformers import set_seed
    from transformers.trainer_pt_utils import LabelSmoother

    request, pace = context.request, context.pace
    batches = micro_batches(
        rows,
        RowCollator(load_collator(context), carry_rows=True),
        size=request.micro_batch_size,
        rank=context.faults.data_rank,
        world_size=context.world_size,
        device=context.device,
    )
    smoother = LabelSmoother(epsilon=smoothing) if smoothing else None
    set_seed(request.seed)
    while not pace.finished:
        ready = [next(batches) for _ in range(driver.accumulation)]
        recorder.start()
        applied = False
        for batch in ready:
            context.writer.doing = "forward"
            recorder.micro_batch(batch, take_rows(batch))
            loss = _loss(driver, batch, smoother)
            if request.faults:
                loss = context.faults.on_loss(loss, pace.step, recorder.num_micro_batches)
            recorder.loss(loss, batch)
            context.writer.doing = "backward"
            driver.backward(loss)
            context.writer.doing = "step"
            applied = driver.step()
        recorder.stop_clock()
        if driver.probe is None:
            recorder.fields |= {"step": pace.step, "phase": "SCHEDULED", "applied": applied}
            pace.record(applied=applied)
        recorder.write()
        context.writer.doing = None


def _loss(driver: Driver, batch: dict[str, Any], smoother: Any | None) -> torch.Tensor:
    output = driver.forward(batch)
    if smoother is None:
        loss: torch.Tensor = output.loss
        return loss
    smoothed: torch.Tensor = smoother(output, batch["labels"], shift_labels=True)
    return smoothed


def _make_accelerator(context: RankContext, config: dict[str, Any]) -> Any:
    """A real Accelerator: it resolves `"auto"` and, for stage 3, has the model built in pieces."""
    from accelerate import Accelerator, DeepSpeedPlugin, PartialState

    if context.device.type == "cpu":
        PartialState(cpu=True)  # else accelerate sees one process, for want of a GPU
    training = context.request.training
    precision = "fp16" if training.get("fp16") else "bf16" if training.get("bf16") else "no"
    return Accelerator(
        deepspeed_plugin=DeepSpeedPlugin(hf_ds_config=config),
        mixed_precision=precision,
        gradient_accumulation_steps=context.request.gradient_accumulation_steps,
    )


class EngineDriver:
    """The loop on a DeepSpeed engine.

    Args:
        context: The rank.
        model: The job's model.
        config: The DeepSpeed config.
        recipe: Its meaning; source of the client optimizer and schedule.
        recorder: Gets what the hook around the step measures.
        accelerator: Prepares the engine when given; else `deepspeed.initialize` does.
    """

    def __init__(
        self,
        context: RankContext,
        model: nn.Module,
        config: dict[str, Any],
        recipe: Recipe,
        recorder: StepRecorder,
        accelerator: Any | None,
    ) -> None:
        build = _initialize if accelerator is None else _prepare
        engine, self._client_scheduler = build(context, model, config, recipe, accelerator)
        self.engine = engine
        self.model = engine.module
        self.accumulation = int(engine.gradient_accumulation_steps())
        self.probe: StepProbe | None = None
        optimizer = engine.optimizer
        layout = layout_of(optimizer, getattr(engine, "torch_autocast_z0_gradscaler", None))
        peaks = peak_learning_rates(recipe.schedule, recipe.base_rates(optimizer), context.total_steps)
        write_facts(
            context,
            self.model,
            engine=engine,
            dtype=_precision_of_engine(engine),
            effective_config=accelerator.deepspeed_config if accelerator is not None else config,
            optimizer=engine.basic_optimizer,
            gradient_clipping=float(engine.gradient_clipping()),
            peak_learning_rates=peaks,
            measured=layout is not None,
        )
        if context.request.probes:
            self.probe = StepProbe(context, self.model, layout, optimizer, peaks)
            hook_engine(engine, self.probe, recorder)

    def forward(self, batch: dict[str, Any]) -> Any:
        """Through the engine."""
        return self.engine(**batch)

    def backward(self, loss: torch.Tensor) -> None:
        """The engine divides by the accumulation steps."""
        self.engine.backward(loss)

    def step(self) -> bool:
        """The engine knows itself whether the accumulation is complete."""
        self.engine.step()
        applied = bool(self.engine.was_step_applied())
        if applied and self._client_scheduler is not None:
            self._client_scheduler.step()
        return applied


def _initialize(
    context: RankContext, model: nn.Module, config: dict[str, Any], recipe: Recipe, _accelerator: None
) -> tuple[Any, None]:
    import deepspeed

    trainable = [p for p in model.parameters() if p.requires_grad]
    asked_for_client = context.request.training.get("optimizer_source") == "CLIENT"
    is_client = asked_for_client or not recipe.has_optimizer_section
    engine, *_ = deepspeed.initialize(
        model=model,
        model_parameters=trainable,
        config=config,
        optimizer=recipe.make_optimizer(trainable) if is_client else None,
        lr_scheduler=None if recipe.has_scheduler_section else recipe.schedule,
    )
    return engine, None


def _prepare(
    context: RankContext, model: nn.Module, _config: dict[str, Any], recipe: Recipe, accelerator: Any
) -> tuple[Any, Any | None]:
    """Through `Accelerator.prepare`, as accelerate's DeepSpeed examples do it.

    Returns:
        The engine, and the schedule that the loop must step itself (a client's, on a client's optimizer).
    """
    from accelerate.utils import DummyOptim, DummyScheduler
    from torch.utils.data import DataLoader

    from hotfire_workers.train.loops.schedule import warmup_steps

    arguments = with_defaults(context.request.training)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer: Any = (
        DummyOptim(trainable, lr=arguments["learning_rate"], weight_decay=arguments["weight_decay"])
        if recipe.has_optimizer_section
        else recipe.make_optimizer(trainable)
    )
    own_scheduler = None
    prepared: list[Any] = [model, optimizer]
    if recipe.has_scheduler_section:
        prepared.append(
            DummyScheduler(
                optimizer,
                # accelerate divides by the number of processes; the schedule is the job's all the same.
                total_num_steps=context.total_steps * context.world_size,
                warmup_num_steps=warmup_steps(arguments, context.total_steps),
            )
        )
    elif recipe.has_optimizer_section and recipe.schedule is not None:
        prepared.append(DummyScheduler(optimizer, lr_scheduler_callable=recipe.schedule))
    elif recipe.schedule is not None:
        own_scheduler = recipe.schedule(optimizer)
    # accelerate takes the micro-batch size for "auto" from a data loader.
    sizes = DataLoader(range(context.request.micro_batch_size), batch_size=context.request.micro_batch_size)
    engine = accelerator.prepare(*prepared, sizes)[0]
    return engine, own_scheduler


def _precision_of_engine(engine: Any) -> str:
    if engine.fp16_enabled():
        return "fp16"
    return "bf16" if engine.bfloat16_enabled() else "fp32"

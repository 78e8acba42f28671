"""The learning-rate schedule of the whole job, and its highest rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

SchedulerFactory = Callable[[torch.optim.Optimizer], Any]
"""Makes a scheduler on an optimizer; the scheduler has `step()`."""

_FOLLOW_EVALUATION = frozenset({"reduce_lr_on_plateau", "greedy"})
_NUM_FIRST = 2_000
_NUM_SPREAD = 1_000


def client_schedule(arguments: dict[str, Any], total_steps: int) -> SchedulerFactory | None:
    """The schedule of the training arguments, as the HF Trainer makes it.

    Args:
        arguments: Values of TrainingArguments by name, defaults filled in.
        total_steps: Optimizer steps of the job.

    Returns:
        None for the schedules that follow evaluation results: a trial evaluates nothing, so the rate stays.
    """
    from transformers import SchedulerType, get_scheduler

    name = SchedulerType(arguments["lr_scheduler_type"])
    if name.value in _FOLLOW_EVALUATION:
        return None
    warmup = warmup_steps(arguments, total_steps)

    def make(optimizer: torch.optim.Optimizer) -> Any:
        return get_scheduler(
            name,
            optimizer=optimizer,
            num_warmup_steps=warmup,
            num_training_steps=total_steps,
            scheduler_specific_kwargs=arguments.get("lr_scheduler_kwargs") or None,
        )

    return make


def warmup_steps(arguments: dict[str, Any], total_steps: int) -> int:
    """Warm-up steps: `warmup_steps` (below 1: a share of the job), else `warmup_ratio`."""
    steps = float(arguments.get("warmup_steps") or 0)
    if steps >= 1:
        return int(steps)
    return math.ceil(total_steps * (steps or float(arguments.get("warmup_ratio") or 0)))


def config_schedule(section: dict[str, Any], arguments: dict[str, Any], total_steps: int) -> SchedulerFactory:
    """The schedule of a DeepSpeed `scheduler` section, with DeepSpeed's own class on any optimizer.

    Args:
        section: `{"type": ..., "params": {...}}`; `"auto"` values are filled in as the HF Trainer does.
        arguments: Values of TrainingArguments by name, defaults filled in.
        total_steps: Optimizer steps of the job.

    Raises:
        ValueError: DeepSpeed knows no such scheduler.
    """
    from deepspeed.runtime import lr_schedules

    name = section.get("type")
    if name not in lr_schedules.VALID_LR_SCHEDULES:
        known = ", ".join(lr_schedules.VALID_LR_SCHEDULES)
        raise ValueError(f"scheduler.type is {name!r}; DeepSpeed knows {known}")
    automatic = {
        "warmup_min_lr": 0,
        "warmup_max_lr": arguments["learning_rate"],
        "warmup_num_steps": max(1, warmup_steps(arguments, total_steps)),
        "total_num_steps": total_steps,
    }
    given = section.get("params")
    given = given if isinstance(given, dict) else {}
    params = {k: automatic.get(k, v) if v == "auto" else v for k, v in given.items()}
    scheduler_class = getattr(lr_schedules, name)
    return lambda optimizer: scheduler_class(optimizer, **params)


def peak_learning_rates(make: SchedulerFactory | None, rates: list[float], total_steps: int) -> list[float]:
    """The highest learning rate that a schedule reaches in the job, per parameter group.

    Looks at each of the first 2,000 steps and at 1,000 more spread over the rest, on a stand-in optimizer.

    Args:
        make: The schedule; None: constant rates.
        rates: The groups' own learning rates, before any schedule.
        total_steps: Length of the job.
    """
    if make is None or not rates:
        return list(rates)
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates]
    stand_in = torch.optim.SGD(groups, lr=rates[0], momentum=0.9)
    scheduler = make(stand_in)
    peaks = [float(group["lr"]) for group in stand_in.param_groups]
    for step in _sampled_steps(total_steps):
        peaks = [max(pair) for pair in zip(peaks, _rates_at(scheduler, step), strict=True)]
    return peaks


def _sampled_steps(total_steps: int) -> list[int]:
    first = range(1, min(total_steps, _NUM_FIRST))
    stride = max(1, (total_steps - _NUM_FIRST) // _NUM_SPREAD)
    return [*first, *range(_NUM_FIRST, total_steps, stride)]


def _rates_at(scheduler: Any, step: int) -> list[float]:
    """Learning rates after `step` applied steps, for torch's and DeepSpeed's schedulers alike."""
    if isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):
        pairs = zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        return [float(rate * factor(step)) for rate, factor in pairs]
    scheduler.step(step - 1)  # DeepSpeed counts batches from 0
    return [float(group["lr"]) for group in scheduler.optimizer.param_groups]

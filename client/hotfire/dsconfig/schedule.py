"""Learning rate by step, as the job's scheduler will set it.

Rates are per optimizer step; step 0 is the first. The formulas stand in `schedule_curves` (the HF Trainer's) and
`schedule_deepspeed` (DeepSpeed's); tests compare both with the real implementations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hotfire.dsconfig import schedule_curves, schedule_deepspeed
from hotfire.dsconfig.effective import LEARNING_RATE, Batch, number, warmup_steps
from hotfire.dsconfig.versions import Version, parse
from hotfire.rules.evidence import Cluster

_PEAK_NEAR_START = 64
"""Steps from the start that are looked at for the peak: a curve whose minimum is above its maximum begins with it."""
_NUM_TRAIN_EPOCHS = 3.0
_WARMUP_KINDS = ("WarmupLR", "WarmupDecayLR", "WarmupCosineLR")


@dataclass(kw_only=True, slots=True)
class Schedule:
    """A learning rate curve."""

    rate: Callable[[int], float]
    """Number of optimizer steps applied before -> learning rate that the next one uses."""
    peak: float
    """Highest learning rate of the curve."""
    peak_step: int
    """First step that uses it."""
    warmup_steps: int
    source: str
    """Who sets it: "deepspeed:WarmupLR", "trainer:linear", "optimizer" (a constant)."""
    top: float | None = None
    """The rate that the curve is meant to reach."""
    length: int | None = None
    """Optimizer steps that it was made for; None where it has no end."""
    fails_at: int | None = None
    """Optimizer steps after which setting the next rate divides by zero: the job ends there."""


def learning_rates(
    effective: dict[str, Any],
    training: dict[str, Any],
    total_steps: int | None,
    *,
    version: str | None = None,
) -> Schedule | None:
    """The curve of the job, or None where it cannot be known (unknown name, length needed and not known).

    A `scheduler` section wins over the training arguments, as it does in the HF Trainer. Without one, the loop
    "DEEPSPEED" keeps the optimizer's rate, unless the arguments name a scheduler.

    Args:
        effective: The config as it takes effect (`effective.resolve`).
        training: The training arguments that were given.
        total_steps: Optimizer steps of the whole job, if known.
        version: DeepSpeed's; None: the newest known.
    """
    section = effective.get("scheduler")
    if isinstance(section, dict) and section.get("type") is not None:
        return _of_deepspeed(section, effective, training, total_steps, parse(version))
    if training.get("loop") == "DEEPSPEED" and training.get("lr_scheduler_type") is None:
        base = _base_rate(effective, training)
        return None if base is None else _schedule(lambda _: base, 0, total_steps, "optimizer", top=base)
    return _of_trainer(effective, training, total_steps)


def total_steps(training: dict[str, Any], cluster: Cluster, batch: Batch) -> int | None:
    """Optimizer steps of the real job, as the HF Trainer counts them; None where something needed is unknown.

    Args:
        training: The training arguments; `max_steps` > 0 wins over `num_train_epochs` (default 3).
        cluster: For `num_train_rows`.
        batch: The batch triple of the real job.
    """
    max_steps = number(training.get("max_steps"))
    if max_steps is not None and max_steps > 0:
        return int(max_steps)
    epochs = number(training.get("num_train_epochs", _NUM_TRAIN_EPOCHS))
    rows = cluster.num_train_rows
    if rows is None or epochs is None or epochs <= 0 or not batch.train or not batch.train > 0:
        return None
    accumulation = batch.accumulation or 1
    # The dataloader keeps the last incomplete batch, and the last incomplete accumulation is a step as well.
    micro_batches = math.ceil(rows / max(1, batch.train // accumulation))
    return math.ceil(epochs * max(1, math.ceil(micro_batches / accumulation)))


def _schedule(
    rate: Callable[[int], float],
    warmup: int,
    total: int | None,
    source: str,
    peak_step: int | None = None,
    *,
    top: float | None = None,
    length: int | None = None,
    fails_at: int | None = None,
) -> Schedule:
    """Completes a curve with its peak: where it is not known, the curve rises monotonically during warm-up."""
    if peak_step is None:
        ends = [n - 1 for n in (total, fails_at) if n is not None]
        last = max(0, min([warmup + 1, *ends]))
        near = {*range(min(last + 1, _PEAK_NEAR_START)), *range(max(0, last - 3), last + 1)}
        peak_step = max(near, key=lambda step: (rate(step), -step))
    elif total is not None:
        peak_step = max(0, min(peak_step, total - 1))
    return Schedule(
        rate=rate,
        peak=rate(peak_step),
        peak_step=peak_step,
        warmup_steps=warmup,
        source=source,
        top=top,
        length=length,
        fails_at=fails_at,
    )


def _base_rate(effective: dict[str, Any], training: dict[str, Any]) -> float | None:
    """The rate that the optimizer is made with: the config's optimizer wins over the arguments."""
    section = effective.get("optimizer")
    if isinstance(section, dict):
        params = section.get("params")
        value = params.get("lr") if isinstance(params, dict) else None
        if value not in (None, "auto"):
            return number(value)
        if value is None and section.get("type") is not None:
            return schedule_deepspeed.MAX_RATE
    if training.get("learning_rate") is None and training.get("loop") == "DEEPSPEED":
        return None
    return number(training.get("learning_rate", LEARNING_RATE))


def _of_trainer(effective: dict[str, Any], training: dict[str, Any], total: int | None) -> Schedule | None:
    name = str(training.get("lr_scheduler_type") or "linear").lower().rpartition(".")[2]
    base = _base_rate(effective, training)
    warmup = warmup_steps(training, total)
    if base is None or warmup is None:
        return None
    given = training.get("lr_scheduler_kwargs")
    kwargs: dict[str, Any] = given if isinstance(given, dict) else {}
    factor = schedule_curves.factor(name, warmup, total, base, kwargs)
    if factor is None:
        return None
    shown = 0 if name == "constant" else warmup
    length = None if name in schedule_curves.ENDLESS else total
    return _schedule(
        lambda step: base * factor(step),
        shown,
        total,
        f"trainer:{name}",
        top=base,
        length=length,
        fails_at=schedule_curves.fails_at(name, warmup, total),
    )


def _of_deepspeed(
    section: dict[str, Any],
    effective: dict[str, Any],
    training: dict[str, Any],
    total: int | None,
    version: Version,
) -> Schedule | None:
    kind = section["type"]
    given = section.get("params")
    params = _filled(given if isinstance(given, dict) else {}, training, total)
    if params is None:
        return None
    if kind == "OneCycle":
        curve = schedule_deepspeed.one_cycle(params, version)
    elif kind == "LRRangeTest":
        curve = schedule_deepspeed.range_test(params, total)
    elif kind in _WARMUP_KINDS:
        length = params.get("total_num_steps")
        end = total if length is None else number(length)
        curve = schedule_deepspeed.warmup_curve(kind, params, end, _base_rate(effective, training), version)
    else:
        return None
    if curve is None:
        return None
    return _schedule(
        curve.rate,
        curve.warmup,
        total,
        f"deepspeed:{kind}",
        curve.peak_step,
        top=curve.top,
        length=curve.length,
        fails_at=curve.fails_at,
    )


def _filled(params: dict[str, Any], training: dict[str, Any], total: int | None) -> dict[str, Any] | None:
    """Params without "auto", as the HF Trainer fills them; None where the length of the job is needed."""
    result = {key: value for key, value in params.items() if value != "auto"}
    if params.get("warmup_num_steps") == "auto":
        steps = warmup_steps(training, total)
        if steps is None:
            return None
        result["warmup_num_steps"] = max(1, steps)
    if params.get("warmup_max_lr") == "auto":
        result["warmup_max_lr"] = training.get("learning_rate", LEARNING_RATE)
    return result

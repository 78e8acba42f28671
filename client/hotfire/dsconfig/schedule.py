"""Learning rate by step, as the job's scheduler will set it.

The formulas are those of transformers 5.23 (`transformers/optimization.py`) and DeepSpeed 0.19.8
(`deepspeed/runtime/lr_schedules.py`). Rates are per optimizer step; step 0 is the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hotfire.dsconfig.effective import LEARNING_RATE, Batch, number, warmup_steps
from hotfire.rules.evidence import Cluster

_PEAK_SEARCH_STEPS = 100_000
_DEEPSPEED_WARMUP_STEPS = 1000
_DEEPSPEED_MAX_LR = 1e-3
_COSINE_MIN_RATIO = 1e-4
_NUM_TRAIN_EPOCHS = 3.0


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


def learning_rates(
    effective: dict[str, Any], training: dict[str, Any], total_steps: int | None
) -> Schedule | None:
    """The curve of the job, or None where it cannot be known (unknown name, length needed and not known).

    A `scheduler` section wins over the training arguments, as it does in the HF Trainer. Without one, the
    loop "DEEPSPEED" keeps the optimizer's rate, unless the arguments name a scheduler.

    Args:
        effective: The config as it takes effect (`effective.resolve`).
        training: The training arguments that were given.
        total_steps: Optimizer steps of the whole job, if known.
    """
    section = effective.get("scheduler")
    if isinstance(section, dict) and section.get("type") is not None:
        return _of_deepspeed(section, effective, training, total_steps)
    if training.get("loop") == "DEEPSPEED" and training.get("lr_scheduler_type") is None:
        base = _base_rate(effective, training)
        return None if base is None else _schedule(lambda _: base, 0, total_steps, "optimizer")
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
    # An incomplete last accumulation is a step as well; so is an incomplete last batch, unless it is dropped.
    exact = rows / max(1, batch.train // accumulation)
    micro_batches = math.floor(exact) if training.get("dataloader_drop_last") is True else math.ceil(exact)
    return math.ceil(epochs * max(1, math.ceil(micro_batches / accumulation)))


def _schedule(rate: Callable[[int], float], warmup: int, total: int | None, source: str) -> Schedule:
    """Completes a curve with its peak: every one here rises monotonically during warm-up."""
    # No curve comes back above its first peak, so the steps up to just after the warm-up will do.
    last = warmup + 1 if total is None else max(0, min(warmup + 1, total - 1))
    candidates = range(max(0, last - 3), last + 1) if last > _PEAK_SEARCH_STEPS else range(last + 1)
    peak_step = max(candidates, key=lambda step: (rate(step), -step))
    return Schedule(rate=rate, peak=rate(peak_step), peak_step=peak_step, warmup_steps=warmup, source=source)


def _base_rate(effective: dict[str, Any], training: dict[str, Any]) -> float | None:
    """The rate that the optimizer is made with: the config's optimizer wins over the arguments."""
    section = effective.get("optimizer")
    if isinstance(section, dict):
        params = section.get("params")
        value = params.get("lr") if isinstance(params, dict) else None
        if value not in (None, "auto"):
            return number(value)
        if value is None and section.get("type") is not None:
            return _DEEPSPEED_MAX_LR  # the default of Adam and its kin, DeepSpeed's own included
    if training.get("learning_rate") is None and training.get("loop") == "DEEPSPEED":
        return None
    return number(training.get("learning_rate", LEARNING_RATE))


# --- the HF Trainer's


def _of_trainer(effective: dict[str, Any], training: dict[str, Any], total: int | None) -> Schedule | None:
    name = str(training.get("lr_scheduler_type") or "linear").lower().rpartition(".")[2]
    base = _base_rate(effective, training)
    warmup = warmup_steps(training, total)
    if base is None or warmup is None:
        return None
    given = training.get("lr_scheduler_kwargs")
    kwargs: dict[str, Any] = given if isinstance(given, dict) else {}
    factor = _factor(name, warmup, total, base, kwargs)
    if factor is None:
        return None
    return _schedule(
        lambda step: base * factor(step), 0 if name == "constant" else warmup, total, f"trainer:{name}"
    )


def _factor(
    name: str, warmup: int, total: int | None, base: float, kwargs: dict[str, Any]
) -> Callable[[int], float] | None:
    """What the base rate is multiplied by at each step."""
    after = _after_warmup(name, warmup, total, base, kwargs)
    if after is None:
        return None
    if name == "constant":
        return after
    return lambda step: step / max(1, warmup) if step < warmup else after(step)


def _after_warmup(
    name: str, warmup: int, total: int | None, base: float, kwargs: dict[str, Any]
) -> Callable[[int], float] | None:
    def option(key: str, default: float) -> float:
        value = number(kwargs.get(key))
        return default if value is None else value

    if name in ("constant", "constant_with_warmup"):
        return lambda _: 1.0
    if name == "inverse_sqrt":
        timescale = option("timescale", warmup or 10_000)
        if timescale <= 0:
            return None
        return lambda step: 1.0 / math.sqrt((step + timescale - warmup) / timescale)
    if total is None:
        return None
    decay_steps = max(1, total - warmup)
    if name == "linear":
        return lambda step: max(0.0, (total - step) / decay_steps)
    if name == "cosine":
        cycles = option("num_cycles", 0.5)
        return lambda step: max(
            0.0, 0.5 * (1.0 + math.cos(math.pi * cycles * 2.0 * (step - warmup) / decay_steps))
        )
    if name == "cosine_with_restarts":
        return _restarts(warmup, decay_steps, option("num_cycles", 1))
    if name == "polynomial" and base > option("lr_end", 1e-7) and option("power", 1.0) >= 0:
        return _polynomial(warmup, total, base, option("lr_end", 1e-7), option("power", 1.0))
    return None


def _restarts(warmup: int, decay_steps: int, cycles: float) -> Callable[[int], float]:
    def factor(step: int) -> float:
        progress = (step - warmup) / decay_steps
        if progress >= 1.0:
            return 0.0
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((cycles * progress) % 1.0))))

    return factor


def _polynomial(warmup: int, total: int, base: float, end: float, power: float) -> Callable[[int], float]:
    def factor(step: int) -> float:
        if step > total or total <= warmup:
            return end / base
        remaining = 1 - (step - warmup) / (total - warmup)
        return float(((base - end) * remaining**power + end) / base)

    return factor


# --- DeepSpeed's


def _of_deepspeed(
    section: dict[str, Any], effective: dict[str, Any], training: dict[str, Any], total: int | None
) -> Schedule | None:
    kind = section["type"]
    given = section.get("params")
    params: dict[str, Any] = given if isinstance(given, dict) else {}
    warmup = _deepspeed_warmup(params, training, total)
    if kind not in ("WarmupLR", "WarmupDecayLR", "WarmupCosineLR") or warmup is None:
        return None
    length = params.get("total_num_steps")
    end = total if length in (None, "auto") else number(length)
    if end is None and kind != "WarmupLR":
        return None
    curve = (
        _cosine(params, warmup, end, _base_rate(effective, training)) if kind == "WarmupCosineLR" else None
    )
    if kind != "WarmupCosineLR":
        decay_end = end if kind == "WarmupDecayLR" else None
        curve = _warmup(kind, params, warmup, decay_end, _base_rate(effective, training), training)
    if curve is None:
        return None
    chosen = curve
    # The scheduler is made at iteration -1, and iteration k is set after step k: the curve lags one step.
    return _schedule(lambda step: chosen(step - 1), warmup, total, f"deepspeed:{kind}")


def _deepspeed_warmup(params: dict[str, Any], training: dict[str, Any], total: int | None) -> int | None:
    value = params.get("warmup_num_steps", _DEEPSPEED_WARMUP_STEPS)
    if value == "auto":
        steps = warmup_steps(training, total)
        return None if steps is None else max(2, steps)
    steps_given = number(value)
    # DeepSpeed 0.19.6 and later refuse what is not positive; every version then takes at least 2.
    return None if steps_given is None else max(2, int(steps_given))


def _gamma(params: dict[str, Any], warmup: int) -> Callable[[int], float]:
    """Share of the way up at an iteration within the warm-up; an unknown warmup_type counts as "log"."""
    if params.get("warmup_type") == "linear":
        return lambda iteration: iteration / warmup
    return lambda iteration: math.log(iteration + 1) / math.log(warmup)


def _warmup(
    kind: str,
    params: dict[str, Any],
    warmup: int,
    end: float | None,
    base: float | None,
    training: dict[str, Any],
) -> Callable[[int], float] | None:
    low = 0.0 if params.get("warmup_min_lr") in (None, "auto") else number(params["warmup_min_lr"])
    top = params.get("warmup_max_lr", _DEEPSPEED_MAX_LR if kind == "WarmupDecayLR" else None)
    if top == "auto":
        top = training.get("learning_rate", LEARNING_RATE)
    high = base if top is None else number(top)
    if low is None or high is None:
        return None
    rise, least, most = _gamma(params, warmup), low, high

    def rate(iteration: int) -> float:
        if iteration < 0:
            return least
        if iteration < warmup:
            share = rise(iteration)
        elif end is None:
            share = 1.0
        else:
            share = max(0.0, (end - iteration) / max(1.0, end - warmup))
        return least + (most - least) * share

    return rate


def _cosine(
    params: dict[str, Any], warmup: int, end: float | None, base: float | None
) -> Callable[[int], float] | None:
    start = number(params.get("warmup_min_ratio", 0.0))
    floor = number(params.get("cos_min_ratio", _COSINE_MIN_RATIO))
    if start is None or floor is None or end is None or base is None:
        return None
    rise, first, last, length, rate_given = _gamma(params, warmup), start, floor, end, base

    def rate(iteration: int) -> float:
        if iteration < 0:
            return 0.0
        if iteration < warmup:
            return rate_given * (first + rise(iteration) * (1.0 - first))
        progress = min(1.0, (iteration - warmup + 1) / max(1, length - warmup))
        share = (1 + math.cos(math.pi * progress)) / 2
        return rate_given * max(0.0, last + (1.0 - last) * share)

    return rate

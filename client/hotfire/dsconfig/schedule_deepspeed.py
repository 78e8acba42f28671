"""The curves of DeepSpeed's own schedulers, by the number of optimizer steps applied before.

The formulas are those of DeepSpeed 0.19.8, `deepspeed/runtime/lr_schedules.py`. The warm-up schedulers are made at
iteration -1 and set iteration k after step k: their curves lag one step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hotfire.dsconfig.batch_size import number
from hotfire.dsconfig.versions import Version, parse

Rate = Callable[[int], float]

WARMUP_STEPS = 1000
"""Default of `warmup_num_steps`."""
MAX_RATE = 1e-3
"""Default of WarmupDecayLR's `warmup_max_lr`, and of the rate of Adam and its kin."""
_COSINE_MIN_RATIO = 1e-4
_NEWEST = parse(None)
#: WarmupLR takes the optimizer's rate where no maximum is given; MAX_RATE before.
_OPTIMIZER_RATE_SINCE = parse("0.17.1")
#: WarmupCosineLR stays at its floor after its end; before, it swung up again, or divided by zero.
_COSINE_ENDS_SINCE = parse("0.19.3")
#: OneCycle's stairs work.
_STAIRS_SINCE = parse("0.19.4")


@dataclass(frozen=True, slots=True)
class Curve:
    """A rate by step, and where its highest value can be."""

    rate: Rate
    warmup: int
    peak_step: int | None = None
    """Where it is known; else it is near the end of the warm-up."""
    top: float | None = None
    """The rate that it is meant to reach."""
    length: int | None = None
    """Optimizer steps that it was made for, where it has an end."""
    fails_at: int | None = None
    """Optimizer steps after which setting the next rate divides by zero."""


def warmup_curve(
    kind: str,
    params: dict[str, Any],
    end: float | None,
    base: float | None,
    version: Version = _NEWEST,
) -> Curve | None:
    """WarmupLR, WarmupDecayLR and WarmupCosineLR; None where a number is missing.

    Args:
        kind: The type.
        params: Its params, "auto" filled in.
        end: `total_num_steps`.
        base: The rate that the optimizer is made with.
        version: DeepSpeed's.
    """
    given = number(params.get("warmup_num_steps", WARMUP_STEPS))
    if given is None or (end is None and kind != "WarmupLR"):
        return None
    warmup = max(2, int(given))  # every version takes at least 2
    if kind == "WarmupCosineLR":
        inner, top = _cosine(params, warmup, end, base, version), base
    else:
        if kind == "WarmupLR" and version < _OPTIMIZER_RATE_SINCE:
            base = MAX_RATE
        inner = _rise(kind, params, warmup, end if kind == "WarmupDecayLR" else None, base)
        top = _highest(kind, params, base)
    if inner is None:
        return None
    length = None if kind == "WarmupLR" or end is None else int(end)
    by_zero = kind == "WarmupCosineLR" and version < _COSINE_ENDS_SINCE and length == warmup
    fails_at = warmup + 1 if by_zero else None
    return Curve(lambda step: inner(step - 1), warmup, top=top, length=length, fails_at=fails_at)


def one_cycle(params: dict[str, Any], version: Version = _NEWEST) -> Curve | None:
    """OneCycle: up, down, then decay."""
    low, high = number(params.get("cycle_min_lr")), number(params.get("cycle_max_lr"))
    first = number(params.get("cycle_first_step_size", 2000))
    second = params.get("cycle_second_step_size")
    back = first if second is None else number(second)
    if low is None or high is None or first is None or back is None or first <= 0 or back < 0:
        return None
    total, ratio = first + back, first / (first + back)
    stairs = number(params.get("cycle_first_stair_count", 0)) or 0
    given = params.get("cycle_second_stair_count")
    stairs_back = stairs if given is None else number(given) or 0
    decay = number(params.get("decay_lr_rate", 0.0)) or 0.0
    every = number(params.get("decay_step_size", 0)) or 0.0

    def scale(step: int) -> float:
        x = 1.0 + step / total - math.floor(1 + step / total)
        rising = x <= ratio
        count = stairs if rising else stairs_back
        if count <= 0 or version < _STAIRS_SINCE:
            return x / ratio if rising else (x - 1) / (ratio - 1)
        at = step % total
        position = at * count / first if at <= first else (total - at) * count / back
        return math.floor(position) / count

    def rate(step: int) -> float:
        if step - 1 < total:
            return low + (high - low) * scale(step)
        if not every or not decay:
            return low
        return low / (1 + decay * (step - total) / every)

    return Curve(rate, int(first), int(first), top=high)


def range_test(params: dict[str, Any], total: int | None) -> Curve | None:
    """LRRangeTest: it only rises, so that its peak is the last step."""
    low = number(params.get("lr_range_test_min_lr", 1e-3))
    size = number(params.get("lr_range_test_step_size", 2000))
    gain = number(params.get("lr_range_test_step_rate", 1.0))
    if low is None or size is None or gain is None or size <= 0:
        return None
    stairs = params.get("lr_range_test_staircase", False) is True

    def rate(step: int) -> float:
        share = math.floor(step / size) if stairs else step / size
        return low * (1 + gain * share)

    return Curve(rate, 0, max(0, (total or 1) - 1))


def _gamma(params: dict[str, Any], warmup: int) -> Callable[[int], float]:
    """Share of the way up at an iteration within the warm-up; an unknown warmup_type counts as "log"."""
    if params.get("warmup_type") == "linear":
        return lambda iteration: iteration / warmup
    return lambda iteration: math.log(iteration + 1) / math.log(warmup)


def _highest(kind: str, params: dict[str, Any], base: float | None) -> float | None:
    top = params.get("warmup_max_lr", MAX_RATE if kind == "WarmupDecayLR" else None)
    return base if top is None else number(top)


def _rise(
    kind: str, params: dict[str, Any], warmup: int, end: float | None, base: float | None
) -> Rate | None:
    low, high = number(params.get("warmup_min_lr", 0.0)), _highest(kind, params, base)
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
    params: dict[str, Any], warmup: int, end: float | None, base: float | None, version: Version
) -> Rate | None:
    start = number(params.get("warmup_min_ratio", 0.0))
    floor = number(params.get("cos_min_ratio", _COSINE_MIN_RATIO))
    if start is None or floor is None or end is None or base is None:
        return None
    rise, first, last, length, top = _gamma(params, warmup), start, floor, end, base

    def rate(iteration: int) -> float:
        if iteration < 0:
            return 0.0
        if iteration < warmup:
            return top * (first + rise(iteration) * (1.0 - first))
        if version < _COSINE_ENDS_SINCE:
            progress = (iteration - warmup + 1) / (length - warmup) if length != warmup else math.nan
        else:
            progress = min(1.0, (iteration - warmup + 1) / max(1, length - warmup))
        share = (1 + math.cos(math.pi * progress)) / 2
        return top * max(0.0, last + (1.0 - last) * share)

    return rate

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

Rate = Callable[[int], float]

WARMUP_STEPS = 1000
"""Default of `warmup_num_steps`."""
MAX_RATE = 1e-3
"""Default of WarmupDecayLR's `warmup_max_lr`, and of the rate of Adam and its kin."""
_COSINE_MIN_RATIO = 1e-4


@dataclass(frozen=True, slots=True)
class Curve:
    """A rate by step, and where its highest value can be."""

    rate: Rate
    warmup: int
    peak_step: int | None = None
    """Where it is known; else it is near the end of the warm-up."""


def warmup_curve(kind: str, params: dict[str, Any], end: float | None, base: float | None) -> Curve | None:
    """WarmupLR, WarmupDecayLR and WarmupCosineLR; None where a number is missing.

    Args:
        kind: The type.
        params: Its params, "auto" filled in.
        end: `total_num_steps`.
        base: The rate that the optimizer is made with.
    """
    given = number(params.get("warmup_num_steps", WARMUP_STEPS))
    if given is None or (end is None and kind != "WarmupLR"):
        return None
    warmup = max(2, int(given))  # every version takes at least 2
    if kind == "WarmupCosineLR":
        inner = _cosine(params, warmup, end, base)
    else:
        inner = _rise(kind, params, warmup, end if kind == "WarmupDecayLR" else None, base)
    return None if inner is None else Curve(lambda step: inner(step - 1), warmup)


def one_cycle(params: dict[str, Any]) -> Curve | None:
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
        if count <= 0:
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

    return Curve(rate, int(first), int(first))


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


def _rise(
    kind: str, params: dict[str, Any], warmup: int, end: float | None, base: float | None
) -> Rate | None:
    low = number(params.get("warmup_min_lr", 0.0))
    top = params.get("warmup_max_lr", MAX_RATE if kind == "WarmupDecayLR" else None)
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


def _cosine(params: dict[str, Any], warmup: int, end: float | None, base: float | None) -> Rate | None:
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
        progress = min(1.0, (iteration - warmup + 1) / max(1, length - warmup))
        share = (1 + math.cos(math.pi * progress)) / 2
        return top * max(0.0, last + (1.0 - last) * share)

    return rate

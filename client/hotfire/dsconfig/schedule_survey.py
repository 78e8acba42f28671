"""A learning rate curve looked at over the whole job: where it is highest, and from where on it is 0."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hotfire.dsconfig.schedule import Schedule

_EVERY_STEP_UP_TO = 1200
_EDGE = 200
_BETWEEN = 400
_NOTHING = 1e-12
"""A rate is 0 where it is below this share of the curve's maximum: a cosine ends at 1e-17, not at 0."""
_OVER = 2e-4
"""The same after the end of a curve that was made for fewer steps: DeepSpeed's cosine stays at 1e-4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a curve does over a job. Steps count from 0: the optimizer steps applied before."""

    total_steps: int
    highest: float
    highest_step: int
    last: float
    """The rate of the last step."""
    num_zero_at_end: int
    """Steps at the end that all run at 0, or at next to nothing after the end of the schedule."""
    non_finite_step: int | None = None
    """First step whose rate is no number."""


def survey(schedule: Schedule, total_steps: int) -> Survey:
    """Looks at every step of a short job; of a long one at its ends, its peak, and 400 steps between.

    Args:
        schedule: The curve.
        total_steps: Optimizer steps of the whole job, at least 1.
    """
    steps = _steps(schedule, total_steps)
    rates = [schedule.rate(step) for step in steps]
    finite = [(rate, step) for rate, step in zip(rates, steps, strict=True) if math.isfinite(rate)]
    highest, at = max(finite, key=lambda pair: (pair[0], -pair[1]), default=(math.nan, 0))
    broken = next((step for rate, step in zip(rates, steps, strict=True) if not math.isfinite(rate)), None)
    return Survey(
        total_steps=total_steps,
        highest=highest,
        highest_step=at,
        last=rates[-1],
        num_zero_at_end=total_steps - _after_the_last_rate(schedule, steps, rates),
        non_finite_step=broken,
    )


def samples(schedule: Schedule, total_steps: int, count: int) -> list[tuple[int, float]]:
    """(step, rate) at up to `count` evenly spaced steps, the first and the last among them: for drawing."""
    count = max(2, min(count, total_steps))
    if total_steps == 1:
        return [(0, schedule.rate(0))]
    steps = sorted({round(i * (total_steps - 1) / (count - 1)) for i in range(count)})
    return [(step, schedule.rate(step)) for step in steps]


def _steps(schedule: Schedule, total: int) -> list[int]:
    if total <= _EVERY_STEP_UP_TO:
        return list(range(total))
    near = (schedule.peak_step, schedule.warmup_steps, schedule.length or 0, schedule.fails_at or 0)
    chosen = {*range(_EDGE), *range(total - _EDGE, total)}
    chosen |= {round(i * (total - 1) / _BETWEEN) for i in range(_BETWEEN + 1)}
    chosen |= {step + shift for step in near for shift in (-2, -1, 0, 1, 2)}
    return sorted(step for step in chosen if 0 <= step < total)


def _after_the_last_rate(schedule: Schedule, steps: list[int], rates: list[float]) -> int:
    """The step after the last one that runs at more than 0; a curve that ended at 0 does not come back."""
    over = schedule.length is not None and schedule.length < steps[-1] + 1
    floor = (_OVER if over else _NOTHING) * (schedule.top or schedule.peak or 1.0)
    index = next((i for i in range(len(rates) - 1, -1, -1) if not rates[i] <= floor), None)
    if index is None:
        return 0
    low, high = steps[index], steps[index + 1] if index + 1 < len(steps) else steps[index] + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if schedule.rate(middle) <= floor else (middle, high)
    return high

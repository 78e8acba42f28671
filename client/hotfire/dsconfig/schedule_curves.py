"""Factors of the HF Trainer's schedulers: what the base rate is multiplied by at each step.

The formulas are those of transformers 5.23, `transformers/optimization.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hotfire.dsconfig.batch_size import number

Factor = Callable[[int], float]

NAMES = (
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt",
    "reduce_lr_on_plateau", "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay", "greedy",
)  # fmt: skip
"""Every `lr_scheduler_type` of transformers 5.23."""
ENDLESS = ("constant", "constant_with_warmup", "inverse_sqrt")
"""Curves that do not depend on the length of the job."""
MEASURED = ("reduce_lr_on_plateau", "greedy")
"""Curves that follow the evaluation loss: nobody knows them beforehand."""

_STABLE_SHAPES: dict[str, tuple[Callable[[float], float], Callable[[float, float], float]]] = {
    "linear": (lambda share: share, lambda share, _: 1.0 - share),
    "cosine": (
        lambda share: 0.5 * (1.0 - math.cos(math.pi * share)),
        lambda share, cycles: 0.5 * (1.0 + math.cos(math.pi * cycles * 2.0 * share)),
    ),
    "1-sqrt": (lambda share: 1.0 - math.sqrt(1.0 - share), lambda share, _: 1.0 - math.sqrt(share)),
}


def factor(name: str, warmup: int, total: int | None, base: float, kwargs: dict[str, Any]) -> Factor | None:
    """The factor by optimizer step, or None where it cannot be known.

    Args:
        name: `lr_scheduler_type`, such as "cosine".
        warmup: Warm-up steps.
        total: Steps of the whole job; None: only for the schedulers that need no length.
        base: The rate that the factor multiplies.
        kwargs: `lr_scheduler_kwargs`.
    """
    options = _Options(kwargs)
    if name == "warmup_stable_decay":
        return _stable(options, warmup, total)
    if name == "cosine_warmup_with_min_lr":
        return _cosine_from_first_step(options, warmup, total, base)
    after = _after_warmup(name, warmup, total, base, options)
    if after is None or name == "constant":
        return after
    return lambda step: step / max(1, warmup) if step < warmup else after(step)


def fails_at(name: str, warmup: int, total: int | None) -> int | None:
    """Optimizer steps after which setting the next rate divides by zero; None: never."""
    return total if name == "polynomial" and total is not None and total == warmup else None


class _Options:
    """`lr_scheduler_kwargs` as numbers."""

    def __init__(self, kwargs: dict[str, Any]) -> None:
        self._kwargs = kwargs

    def get(self, key: str, default: float) -> float:
        value = number(self._kwargs.get(key))
        return default if value is None else value

    def maybe(self, key: str) -> float | None:
        return number(self._kwargs.get(key))

    def word(self, key: str, default: str) -> str:
        return str(self._kwargs.get(key) or default)

    def floor(self, base: float) -> float | None:
        """`min_lr` or `min_lr_rate` as a share of the base rate; exactly one of them is needed."""
        rate, share = self.maybe("min_lr"), self.maybe("min_lr_rate")
        if rate is not None and share is None and base:
            return rate / base
        return share if rate is None else None


def _after_warmup(name: str, warmup: int, total: int | None, base: float, options: _Options) -> Factor | None:
    if name in ("constant", "constant_with_warmup"):
        return lambda _: 1.0
    if name == "inverse_sqrt":
        timescale = options.get("timescale", warmup or 10_000)
        return lambda step: 1.0 / math.sqrt((step + timescale - warmup) / timescale)
    if total is None:
        return None
    decay = max(1, total - warmup)
    if name == "linear":
        return lambda step: max(0.0, (total - step) / decay)
    if name == "cosine":
        cycles = options.get("num_cycles", 0.5)
        return lambda step: max(0.0, _half_cosine((step - warmup) / decay, cycles))
    if name == "cosine_with_min_lr":
        floor, cycles = options.floor(base), options.get("num_cycles", 0.5)
        if floor is None:
            return None
        return lambda step: max(0.0, _half_cosine((step - warmup) / decay, cycles) * (1 - floor) + floor)
    if name == "cosine_with_restarts":
        return _restarts(warmup, decay, options.get("num_cycles", 1))
    if name == "polynomial" and base > options.get("lr_end", 1e-7):
        return _polynomial(warmup, total, base, options.get("lr_end", 1e-7), options.get("power", 1.0))
    return None


def _half_cosine(progress: float, cycles: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * cycles * 2.0 * progress))


def _restarts(warmup: int, decay: int, cycles: float) -> Factor:
    def value(step: int) -> float:
        progress = (step - warmup) / decay
        if progress >= 1.0:
            return 0.0
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((cycles * progress) % 1.0))))

    return value


def _polynomial(warmup: int, total: int, base: float, end: float, power: float) -> Factor:
    def value(step: int) -> float:
        if step > total:
            return end / base
        if total == warmup:
            return math.nan  # divides by zero there: `fails_at`
        remaining = 1 - (step - warmup) / (total - warmup)
        return float(((base - end) * remaining**power + end) / base)

    return value


def _cosine_from_first_step(options: _Options, warmup: int, total: int | None, base: float) -> Factor | None:
    floor, cycles = options.floor(base), options.get("num_cycles", 0.5)
    start = options.maybe("warmup_lr_rate")
    if floor is None or total is None:
        return None
    decay = max(1.0, total - warmup)

    def value(step: int) -> float:
        if step < warmup:
            if start is None:
                return (step + 1.0) / max(1.0, warmup)
            return start + (1.0 - start) * step / max(1, warmup - 1)
        return max(0.0, _half_cosine((step - warmup + 1.0) / decay, cycles) * (1 - floor) + floor)

    return value


def _stable(options: _Options, warmup: int, total: int | None) -> Factor | None:
    decay, stable = options.maybe("num_decay_steps"), options.maybe("num_stable_steps")
    rise = _STABLE_SHAPES.get(options.word("warmup_type", "linear"))
    fall = _STABLE_SHAPES.get(options.word("decay_type", "cosine"))
    if decay is None or rise is None or fall is None or (stable is None and total is None):
        return None
    flat = stable if stable is not None else (total or 0) - warmup - decay
    floor, cycles = options.get("min_lr_ratio", 0.0), options.get("num_cycles", 0.5)

    def value(step: int) -> float:
        if step < warmup:
            return max(0.0, rise[0](step / max(1, warmup)) * (1.0 - floor) + floor)
        if step < warmup + flat:
            return 1.0
        if step < warmup + flat + decay:
            share = (step - warmup - flat) / max(1, decay)
            return max(0.0, fall[1](share, cycles) * (1.0 - floor) + floor)
        return floor

    return value

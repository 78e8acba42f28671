"""Training arguments whose value no loop can take: what C105 says of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

# Name -> (lowest, lowest included, highest, highest included), and the words for it.
_AT_LEAST_1 = (1.0, True, math.inf, False, "at least 1")
_NOT_NEGATIVE = (0.0, True, math.inf, False, "0 or more, and finite")
_BETA = (0.0, True, 1.0, False, "from 0 to below 1")
_RANGES = {
    "per_device_train_batch_size": _AT_LEAST_1,
    "gradient_accumulation_steps": _AT_LEAST_1,
    "max_length": _AT_LEAST_1,
    "learning_rate": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "adam_epsilon": _NOT_NEGATIVE,
    "max_grad_norm": _NOT_NEGATIVE,
    "warmup_steps": _NOT_NEGATIVE,
    "warmup_ratio": (0.0, True, 1.0, True, "from 0 to 1"),
    "adam_beta1": _BETA,
    "adam_beta2": _BETA,
    "label_smoothing_factor": (0.0, True, 1.0, True, "from 0 to 1"),
}
_SIDES = ("padding_side", "truncation_side")


def misfits(training: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """(name, value, what it must be) of every argument that is out of range."""
    for name, (low, with_low, high, with_high, expected) in _RANGES.items():
        value = training.get(name)
        if value is None or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        above = value >= low if with_low else value > low
        below = value <= high if with_high else value < high
        if not (above and below):  # a NaN is neither
            yield name, value, expected
    for name in _SIDES:
        value = training.get(name)
        if value is not None and value not in ("left", "right"):
            yield name, value, "left or right"

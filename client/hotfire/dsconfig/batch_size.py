"""The batch triple: train_batch_size = micro batch x accumulation x data-parallel ranks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

TRAIN = "train_batch_size"
MICRO = "train_micro_batch_size_per_gpu"
ACCUMULATION = "gradient_accumulation_steps"


@dataclass(kw_only=True, slots=True)
class Batch:
    """The triple as it will be; a member that cannot be known is None."""

    train: int | None = None
    """Samples per optimizer step, over all ranks."""
    micro: int | None = None
    """Samples per forward pass of one rank."""
    accumulation: int | None = None
    """Forward passes per optimizer step."""
    problems: list[str] = field(default_factory=list)
    """Why DeepSpeed would refuse it, one sentence each."""


def number(value: Any) -> float | None:
    """The value as a float if it is a finite number (True and False are none), else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def of_arguments(training: dict[str, Any]) -> Batch:
    """Micro batch and accumulation of the training arguments, with the defaults of `TrainingArguments`."""
    micro = number(training.get("per_device_train_batch_size"))
    accumulation = number(training.get("gradient_accumulation_steps"))
    return Batch(
        micro=8 if micro is None else int(micro),
        accumulation=1 if accumulation is None else int(accumulation),
    )


def batch(given: dict[str, Any], training: dict[str, Any], loop: str | None, world_size: int | None) -> Batch:
    """The triple that takes effect, with the missing members inferred as DeepSpeed does (by `//`).

    Args:
        given: The config, as given or as it takes effect.
        training: The training arguments: they fill "auto", unless the loop is "DEEPSPEED".
        loop: Who resolves "auto"; None fills as the HF Trainer does.
        world_size: Data-parallel ranks; None: only what holds for any number is inferred and checked.
    """
    result = Batch()
    arguments = of_arguments(training)
    fills = loop != "DEEPSPEED"
    auto_train = fills and given.get(TRAIN) == "auto"
    result.micro = _member(given, MICRO, arguments.micro if fills else None, result.problems)
    result.accumulation = _member(
        given, ACCUMULATION, arguments.accumulation if fills else None, result.problems
    )
    result.train = None if auto_train else _member(given, TRAIN, None, result.problems)
    if loop in ("TRAINER", "ACCELERATE") and given.get(ACCUMULATION) is None:
        result.accumulation = 1  # accelerate adds it before DeepSpeed could infer it
    if result.problems:
        return result
    if result.train is None and result.micro is None:
        result.problems.append(f"neither {TRAIN} nor {MICRO} is given: DeepSpeed needs one of them")
        return result
    _infer(result, world_size)
    _check(result, world_size)
    return result


def _member(given: dict[str, Any], key: str, auto: int | None, problems: list[str]) -> int | None:
    value = given.get(key)
    if value == "auto" and auto is not None:
        value = auto
    if value is None:
        return None
    as_number = number(value)
    if as_number is None or as_number != int(as_number):
        why = ' and nothing resolves "auto" in this loop' if value == "auto" else ""
        problems.append(f"{key} is {value!r}: it must be a whole number{why}")
        return None
    if as_number <= 0:
        problems.append(f"{key} is {value}: it must be greater than 0")
    return int(as_number)


def _infer(triple: Batch, world_size: int | None) -> None:
    """Mirrors `DeepSpeedConfig._set_batch_related_parameters`."""
    train, micro, accumulation = triple.train, triple.micro, triple.accumulation
    if train is None:
        triple.accumulation = accumulation = accumulation or 1
        triple.train = micro * accumulation * world_size if world_size and micro else None
    elif micro is None:
        triple.accumulation = accumulation = accumulation or 1
        triple.micro = train // world_size // accumulation if world_size else None
    elif accumulation is None:
        triple.accumulation = train // micro // world_size if world_size else None


def _check(triple: Batch, world_size: int | None) -> None:
    """Mirrors `DeepSpeedConfig._batch_assertion`."""
    train, micro, accumulation = triple.train, triple.micro, triple.accumulation
    if train is None:
        return
    if world_size:
        product = (micro or 0) * (accumulation or 0) * world_size
        if product != train:
            triple.problems.append(
                f"{TRAIN} is {train}, but {MICRO} {micro} x {ACCUMULATION} {accumulation} x "
                f"{world_size} ranks = {product}"
            )
        return
    per_rank = (micro or 1) * (accumulation or 1)
    if train % per_rank:
        triple.problems.append(
            f"{TRAIN} is {train}, which no number of ranks makes out of {per_rank} samples each per step"
        )

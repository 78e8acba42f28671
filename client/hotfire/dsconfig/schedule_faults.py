"""Schedules that cannot be made: what the constructors of DeepSpeed's and the HF Trainer's schedulers refuse.

Source: deepspeed/runtime/lr_schedules.py and engine.py `_scheduler_from_config` (0.15.4 to 0.19.8),
transformers/optimization.py and training_args.py (5.23).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hotfire.dsconfig import schedule_curves
from hotfire.dsconfig.batch_size import number
from hotfire.dsconfig.schema_sections import SCHEDULERS
from hotfire.dsconfig.versions import Version, parse

_REQUIRED = {
    "WarmupDecayLR": ("total_num_steps",),
    "WarmupCosineLR": ("total_num_steps",),
    "OneCycle": ("cycle_min_lr", "cycle_max_lr"),
}
_TORCH = (
    "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR",
    "ExponentialLR", "LambdaLR", "LinearLR", "MultiStepLR", "MultiplicativeLR", "OneCycleLR", "PolynomialLR",
    "ReduceLROnPlateau", "SequentialLR", "StepLR",
)  # fmt: skip
_WARMUP_TYPES = ("log", "linear")
#: Before, WarmupCosineLR failed at its first step with an unknown warmup_type.
_UNKNOWN_TYPE_SINCE = parse("0.19.4")
#: Before, OneCycle took negative lengths, and made a senseless curve of them.
_CYCLES_CHECKED_SINCE = parse("0.19.4")
#: What `lr_scheduler_kwargs` may hold; the constant ones look at none.
_KWARGS = {
    "linear": (),
    "cosine": ("num_cycles",),
    "cosine_with_restarts": ("num_cycles",),
    "polynomial": ("lr_end", "power"),
    "inverse_sqrt": ("timescale",),
    "cosine_with_min_lr": ("num_cycles", "min_lr", "min_lr_rate"),
    "cosine_warmup_with_min_lr": ("num_cycles", "min_lr", "min_lr_rate", "warmup_lr_rate"),
    "warmup_stable_decay": (
        *("num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"),
    ),
}
_SHAPES = ("linear", "cosine", "1-sqrt")
_LOWEST_POLYNOMIAL = 1e-7


@dataclass(frozen=True, slots=True)
class Fault:
    """One reason why a scheduler cannot be made, or takes a value as another."""

    place: str
    """Pointer into the spec: /deepspeed/scheduler/..., /training/..."""
    message: str
    refused: bool = True
    better: Any = None
    """The value that was probably meant."""


def of_deepspeed(section: dict[str, Any], version: Version) -> Iterator[Fault]:
    """What is wrong with a `scheduler` section. Names that no constructor takes are the schema's."""
    at = "/deepspeed/scheduler"
    kind, given = section.get("type"), section.get("params")
    if not isinstance(kind, str):
        return
    params: dict[str, Any] = given if isinstance(given, dict) else {}
    if kind not in SCHEDULERS and kind not in _TORCH:
        lowered = {name.lower(): name for name in (*SCHEDULERS, *_TORCH)}
        near = difflib.get_close_matches(kind.lower(), lowered, n=1, cutoff=0.6)
        yield Fault(
            f"{at}/type",
            f'scheduler.type is "{kind}"; neither DeepSpeed nor torch.optim.lr_scheduler has such a scheduler',
            better=lowered[near[0]] if near else None,
        )
        return
    for name in _REQUIRED.get(kind, ()):
        if params.get(name) is None:
            yield Fault(f"{at}/params/{name}", f"{kind} cannot be made without {name}")
    if kind == "OneCycle":
        yield from _one_cycle(params, at, checked=version >= _CYCLES_CHECKED_SINCE)
    kind_of_rise = params.get("warmup_type", "log")
    if kind.startswith("Warmup") and kind_of_rise not in (*_WARMUP_TYPES, "auto"):
        breaks = kind == "WarmupCosineLR" and version < _UNKNOWN_TYPE_SINCE
        better = str(kind_of_rise).lower()
        yield Fault(
            f"{at}/params/warmup_type",
            f'warmup_type is "{kind_of_rise}"; {kind} knows log and linear '
            + ("and fails at its first step" if breaks else "and takes it as log"),
            refused=breaks,
            better=better if better in _WARMUP_TYPES else "log",
        )


def _one_cycle(params: dict[str, Any], at: str, *, checked: bool) -> Iterator[Fault]:
    first = number(params.get("cycle_first_step_size", 2000))
    second = number(params.get("cycle_second_step_size", 0))
    if first is not None and first <= 0:
        yield Fault(
            f"{at}/params/cycle_first_step_size",
            f"cycle_first_step_size is {first:g}; it must be above 0",
        )
    if second is not None and second < 0:
        yield Fault(
            f"{at}/params/cycle_second_step_size",
            f"cycle_second_step_size is {second:g}; it must not be negative",
            refused=checked,
        )


def of_trainer(training: dict[str, Any], rate: float | None) -> Iterator[Fault]:
    """What is wrong with `lr_scheduler_type` and `lr_scheduler_kwargs`.

    Args:
        training: The training arguments that were given.
        rate: The rate that the optimizer is made with, where known.
    """
    name = str(training.get("lr_scheduler_type") or "linear").lower().rpartition(".")[2]
    given = training.get("lr_scheduler_kwargs")
    kwargs: dict[str, Any] = given if isinstance(given, dict) else {}
    if name not in schedule_curves.NAMES:
        near = difflib.get_close_matches(name, schedule_curves.NAMES, n=1, cutoff=0.6)
        yield Fault(
            "/training/lr_scheduler_type",
            f'lr_scheduler_type is "{name}"; transformers has no such scheduler',
            better=near[0] if near else None,
        )
        return
    unknown = [key for key in kwargs if key not in (*_KWARGS.get(name, tuple(kwargs)), "last_epoch")]
    if unknown:
        yield Fault(
            "/training/lr_scheduler_kwargs", f"{name} takes no {', '.join(map(str, unknown))} (a TypeError)"
        )
    if name in schedule_curves.MEASURED:
        if str(training.get("eval_strategy", "no")).lower().rpartition(".")[2] == "no":
            yield Fault(
                "/training/lr_scheduler_type", f"{name} follows the evaluation loss, and eval_strategy is no"
            )
    elif name in ("cosine_with_min_lr", "cosine_warmup_with_min_lr"):
        floors = [key for key in ("min_lr", "min_lr_rate") if kwargs.get(key) is not None]
        if len(floors) != 1:
            shown = " and ".join(floors) or "neither"
            yield Fault(
                "/training/lr_scheduler_kwargs",
                f"{name} takes exactly one of min_lr and min_lr_rate; given: {shown}",
            )
    elif name == "polynomial":
        end = number(kwargs.get("lr_end", _LOWEST_POLYNOMIAL))
        if end is not None and rate is not None and rate <= end:
            yield Fault(
                "/training/lr_scheduler_kwargs",
                f"polynomial ends at lr_end {end:g}, which must be below the learning rate {rate:g}",
            )
    elif name == "warmup_stable_decay":
        if kwargs.get("num_decay_steps") is None:
            yield Fault(
                "/training/lr_scheduler_kwargs", "warmup_stable_decay cannot be made without num_decay_steps"
            )
        for key in ("warmup_type", "decay_type"):
            if kwargs.get(key) not in (None, *_SHAPES):
                yield Fault(
                    "/training/lr_scheduler_kwargs",
                    f'{key} is "{kwargs[key]}"; warmup_stable_decay knows {", ".join(_SHAPES)}',
                )

"""What a DeepSpeed config means for the training itself: optimizer, schedule, clipping, precision.

The reference runs by this recipe in plain PyTorch, and the engine loop takes its client optimizer and
schedule from it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hotfire_workers.train.loops.precision import precision_of
from hotfire_workers.train.loops.schedule import SchedulerFactory, client_schedule, config_schedule

_ADAM_LIKE = frozenset(
    {"adam", "onebitadam", "zerooneadam", "lamb", "onebitlamb", "lion", "muon", "muadam", "muadamw"}
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the weights are to be trained.

    Attributes:
        precision: "fp32", "bf16" or "fp16".
        has_optimizer_section: The config brings the optimizer: one group of all parameters, decay on norms
            and biases too. Else the loop makes its own (the HF Trainer: two groups).
        has_scheduler_section: The config brings the schedule.
        optimizer_class: Class of torch.optim.
        optimizer_kwargs: Its arguments.
        schedule: Makes the scheduler; None: constant rate.
        clipping: Norm that gradients are clipped to; 0: not at all.
    """

    precision: str
    has_optimizer_section: bool
    has_scheduler_section: bool
    optimizer_class: type[torch.optim.Optimizer]
    optimizer_kwargs: dict[str, Any]
    schedule: SchedulerFactory | None
    clipping: float

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer over one group of parameters."""
        optimizer: torch.optim.Optimizer = self.optimizer_class(list(parameters), **self.optimizer_kwargs)
        return optimizer

    def base_rates(self, optimizer: Any) -> list[float]:
        """The learning rates of an optimizer's groups before any schedule touched them."""
        default = self.optimizer_kwargs.get("lr")
        return [
            float(g.get("initial_lr", g["lr"] if default is None else default))
            for g in optimizer.param_groups
        ]


def recipe_of(config: dict[str, Any], arguments: dict[str, Any], total_steps: int, *, loop: str) -> Recipe:
    """Reads a config.

    Args:
        config: The DeepSpeed config; `"auto"` is filled in from the arguments.
        arguments: Values of TrainingArguments by name, defaults filled in.
        total_steps: Optimizer steps of the job.
        loop: Which loop runs it.
    """
    section = config.get("optimizer")
    scheduler = config.get("scheduler")
    optimizer_class, kwargs = optimizer_of(section if isinstance(section, dict) else {}, arguments)
    schedule = (
        config_schedule(scheduler, arguments, total_steps)
        if isinstance(scheduler, dict)
        else client_schedule(arguments, total_steps)
    )
    return Recipe(
        precision=precision_of(config, arguments, loop),
        has_optimizer_section=isinstance(section, dict),
        has_scheduler_section=isinstance(scheduler, dict),
        optimizer_class=optimizer_class,
        optimizer_kwargs=kwargs,
        schedule=schedule,
        clipping=clipping_of(config, arguments),
    )


def clipping_of(config: dict[str, Any], arguments: dict[str, Any]) -> float:
    """The value that the engine clips at. An absent key means DeepSpeed's default, not the job's argument."""
    from deepspeed.runtime.constants import GRADIENT_CLIPPING_DEFAULT

    value = config.get("gradient_clipping", GRADIENT_CLIPPING_DEFAULT)
    if value == "auto":
        value = arguments["max_grad_norm"]
    return float(value or 0.0)


def optimizer_of(
    section: dict[str, Any], arguments: dict[str, Any]
) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """The torch optimizer that an `optimizer` section stands for; AdamW of the arguments where there is none.

    DeepSpeed's "Adam" means AdamW unless `adam_w_mode` is false; its other Adam-like optimizers (Lion, LAMB,
    1-bit Adam, ...) have no torch twin and are stood in for by AdamW.
    """
    automatic = {
        "lr": float(arguments["learning_rate"]),
        "betas": (float(arguments["adam_beta1"]), float(arguments["adam_beta2"])),
        "eps": float(arguments["adam_epsilon"]),
        "weight_decay": float(arguments["weight_decay"]),
    }
    if not section:
        return torch.optim.AdamW, automatic
    name = str(section.get("type", "AdamW"))
    given = section.get("params")
    given = given if isinstance(given, dict) else {}
    params = {k: automatic.get(k) if v == "auto" else v for k, v in given.items()}
    lowered = name.lower()
    if lowered == "adam" and params.get("adam_w_mode") is False:
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam
    elif lowered == "adamw" or lowered in _ADAM_LIKE:
        optimizer_class = torch.optim.AdamW
    else:
        optimizer_class = getattr(torch.optim, name, torch.optim.AdamW)
    accepted = inspect.signature(optimizer_class).parameters
    return optimizer_class, {k: v for k, v in params.items() if k in accepted and v is not None}

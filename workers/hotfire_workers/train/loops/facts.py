"""What a rank reports about the training it has set up."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from hotfire_workers.train import imports
from hotfire_workers.train.loops.context import RankContext
from hotfire_workers.train.probes.ranks import non_finite_parameters


def write_facts(
    context: RankContext,
    model: nn.Module,
    *,
    engine: Any | None,
    dtype: str,
    effective_config: dict[str, Any] | None,
    optimizer: torch.optim.Optimizer,
    gradient_clipping: float,
    peak_learning_rates: list[float],
    measured: bool,
) -> None:
    """Writes the facts line on rank 0, when model and engine are ready. A collective call.

    Args:
        context: The rank.
        model: The bare model.
        engine: The DeepSpeed engine; None in the reference.
        dtype: Precision that runs.
        effective_config: The DeepSpeed config as the engine got it, every "auto" resolved.
        optimizer: The innermost optimizer, the one that does the arithmetic.
        gradient_clipping: Norm that the loop clips to; 0: not at all.
        peak_learning_rates: Per parameter group.
        measured: The optimizer's class is known and gradients are measured.
    """
    bad = non_finite_parameters(model, context.device) if context.request.probes else []
    if context.rank != 0:
        return
    sizes = [(getattr(p, "ds_numel", p.numel()), p.requires_grad) for p in model.parameters()]
    config = getattr(model, "config", None)
    zero_class = type(engine.optimizer).__name__ if engine is not None else None
    facts: dict[str, Any] = {
        "num_parameters": sum(size for size, _ in sizes),
        "num_trainable": sum(size for size, trainable in sizes if trainable),
        "num_trainable_tensors": sum(trainable for _, trainable in sizes),
        "vocab_size": getattr(config, "vocab_size", None),
        "engine_gradient_clipping": gradient_clipping,
        "optimizer": type(optimizer).__name__,
        "num_parameter_groups": len(optimizer.param_groups),
        "weight_decay": max(
            (float(g.get("weight_decay") or 0.0) for g in optimizer.param_groups), default=0.0
        ),
        "peak_learning_rate": peak_learning_rates[0] if peak_learning_rates else None,
        "total_steps": context.total_steps,
        "micro_batch_size": context.request.micro_batch_size,
        "gradient_accumulation_steps": context.request.gradient_accumulation_steps,
        "device": device_name(context.device),
        "emulated": context.emulated,
        "adaptations": context.adaptations,
        "ignored_arguments": sorted(set(context.ignored_arguments)),
        "gradients_measured": measured,
        "non_finite_parameters_at_start": bad,
    }
    context.writer.line(
        "facts",
        effective_config=_without_infinities(effective_config),
        versions=imports.versions(),
        stage=int(engine.zero_optimization_stage()) if engine is not None else None,
        dtype=dtype,
        zero_optimizer_class=zero_class,
        facts=facts,
    )


def write_last_facts(context: RankContext, model: nn.Module) -> None:
    """Writes what is only known when the steps are done. A collective call."""
    if not context.request.probes:
        return
    bad = non_finite_parameters(model, context.device)
    if context.rank == 0:
        context.writer.line("facts", facts={"non_finite_parameters_at_end": bad})


def device_name(device: torch.device) -> str:
    """Such as "cpu" or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _without_infinities(config: dict[str, Any] | None) -> dict[str, Any] | None:
    """Accelerate sets `steps_per_print` to infinity to keep DeepSpeed quiet: not a setting of the job."""
    if config is None:
        return None
    return {k: v for k, v in config.items() if not (isinstance(v, float) and math.isinf(v))}

"""R119 out-of-memory."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Role, Severity, Trial, TrialOutcome
from hotfire.rules.remedy import given, set_value, smaller_micro_batch
from hotfire.rules.run.judged import end_is_told, judged_trial
from hotfire.rules.run.plan import training_of

_PATTERN = re.compile(
    r"OutOfMemory|CUDA out of memory|HIP out of memory|can't allocate memory|out of memory", re.IGNORECASE
)


def is_out_of_memory(trial: Trial) -> bool:
    """The trial ended because the device had no memory left."""
    if trial.outcome is TrialOutcome.OUT_OF_MEMORY:
        return True
    error = trial.error
    return error is not None and bool(_PATTERN.search(error.type) or _PATTERN.search(error.message))


class OutOfMemory(Rule):
    """The device ran out of memory.

    Why:
        Weights, gradients and optimizer states take what they take; activations grow with micro-batch and
        length. The phase tells which of them did not fit.

    Example:
        OutOfMemoryError in the forward pass of step 1 with micro-batch 8: activations.

    Fix:
        A smaller micro-batch with more accumulation (the same optimizer step), activation checkpointing, a
        higher ZeRO stage, offload.

    Source:
        huggingface/trl commit 0562c3fa2; deepspeedai/DeepSpeed pull request 8029.
    """

    id = "R119"
    name = "out-of-memory"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Names the phase, and the largest micro-batch that a trial showed to fit."""
        trial = judged_trial(evidence)
        if not is_out_of_memory(trial):
            end_is_told(trial)
            return
        error = trial.error
        phase = f" in {error.phase}" if error and error.phase else ""
        rank = f" on rank {error.rank}" if error and error.rank is not None else ""
        micro = _micro_batch(evidence, trial)
        fits = _largest_that_fits(evidence)
        tail = f" Micro-batch {fits} was tried and fits." if fits else ""
        fixes = _fixes(evidence, trial, micro)
        yield Finding(
            message=f"Out of memory{phase}{rank}, with micro-batch "
            f"{micro if micro else 'size unknown'}.{tail}",
            location=Location(
                rank=error.rank if error else None,
                step=len(trial.steps) + 1,
                trial=trial.name,
                config_path="/training/per_device_train_batch_size",
            ),
            evidence={
                "phase": error.phase if error else None,
                "peak_memory_bytes": trial.peak_memory_bytes,
                "micro_batch_size": micro,
                "largest_micro_batch_that_fits": fits,
                "error": error.message[:300] if error else None,
            },
            fix=fixes[0],
            alternatives=fixes[1:],
        )


def _micro_batch(evidence: Evidence, trial: Trial) -> int | None:
    config = trial.effective_config or {}
    for value in (
        config.get("train_micro_batch_size_per_gpu"),
        (evidence.training or {}).get("per_device_train_batch_size"),
        evidence.data.micro_batch_size if evidence.data else None,
    ):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _largest_that_fits(evidence: Evidence) -> int | None:
    """Largest micro-batch of the fix trials that ran to their end."""
    sizes = [
        size
        for trial in evidence.trials or []
        if trial.role is Role.FIX
        and trial.completed
        and trial.error is None
        and isinstance(size := training_of(evidence, trial).get("per_device_train_batch_size"), int)
    ]
    return max(sizes, default=None)


def _fixes(evidence: Evidence, trial: Trial, micro: int | None) -> list[Fix]:
    fixes: list[Fix] = []
    accumulation = (trial.effective_config or {}).get("gradient_accumulation_steps") or given(
        evidence, "/training/gradient_accumulation_steps"
    )
    if micro and micro > 1:
        fixes.append(
            smaller_micro_batch(evidence, micro, accumulation if isinstance(accumulation, int) else 1)
        )
    if not given(evidence, "/training/gradient_checkpointing"):
        fixes.append(
            Fix(
                description="Recompute activations in the backward pass.",
                patch=[set_value(evidence, "/training/gradient_checkpointing", True)],
            )
        )
    stage = trial.stage
    if stage is not None and stage < 3:
        fixes.append(
            Fix(
                description=f"Shard more: ZeRO stage {stage + 1} instead of {stage}.",
                patch=[set_value(evidence, "/deepspeed/zero_optimization/stage", stage + 1)],
            )
        )
    if not fixes:
        fixes.append(
            Fix(description="Offload optimizer states to host memory, shorten max_length, or use more GPUs.")
        )
    return fixes

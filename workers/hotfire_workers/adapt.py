"""The fewest changes that let a job run on this slot, each with its reason.

The config rules judge the untouched config against the target cluster; what is changed here is what trials run.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from hotfire.dsconfig import effective, unsafe
from hotfire.rules.evidence import Adaptation, Plan
from hotfire_workers.job import Job
from hotfire_workers.slots import Slot

_BATCH_KEYS = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
#: Default of TrainingArguments.per_device_train_batch_size.
_DEFAULT_MICRO = 8
#: Groups of ranks within the world: they cannot be larger than the world.
_RANK_GROUPS = ("zero_hpz_partition_size", "mics_shard_size")
#: Kernels that exist for CUDA only.
_CUDA_ONLY = ("zero_quantized_weights", "zero_quantized_gradients", "zero_quantized_nontrainable_weights")


@dataclass(kw_only=True, slots=True)
class Adapted:
    """A job, made to fit a slot."""

    config: dict[str, Any]
    training: dict[str, Any]
    """The training arguments."""
    num_ranks: int
    micro_batch_size: int
    gradient_accumulation_steps: int
    adaptations: list[Adaptation] = field(default_factory=list)
    emulate_fp16: bool = False
    dtype: str = "fp32"
    stage: int = 0

    def change(self, section: dict[str, Any], key: str, value: Any, path: str, reason: str) -> None:
        """Sets (None: removes) a key, and notes it if that is a change."""
        before = section.get(key)
        if before == value:
            return
        if value is None:
            section.pop(key, None)
        else:
            section[key] = value
        self.adaptations.append(Adaptation(path=path, before=before, after=value, reason=reason))


def num_ranks_of(plan: Plan | None, slot: Slot) -> int:
    """Ranks of a trial on this slot."""
    wanted = (plan.num_ranks if plan else None) or slot.default_ranks
    return max(1, min(wanted, slot.max_ranks))


def adapt(job: Job, slot: Slot) -> Adapted:
    """Adapts a job whose config can be read.

    Args:
        job: The job, as submitted or patched.
        slot: Where it is to run.
    """
    given = job.given or {}
    plan, cluster = job.evidence.plan, job.evidence.cluster
    num_ranks = num_ranks_of(plan, slot)
    config, adaptations = unsafe.neutralise(copy.deepcopy(given))
    world_size = (cluster.world_size if cluster else None) or num_ranks
    batch = effective.batch(given, job.training, job.loop, world_size)
    micro = max(1, batch.micro or job.training.get("per_device_train_batch_size") or _DEFAULT_MICRO)
    accumulation = max(1, batch.accumulation or job.training.get("gradient_accumulation_steps") or 1)
    adapted = Adapted(
        config=config,
        training=dict(job.training),
        num_ranks=num_ranks,
        micro_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        adaptations=list(adaptations),
        dtype=effective.precision(job.effective),
        stage=effective.zero_stage(job.effective),
    )
    _ranks(adapted, plan, slot)
    _batch(adapted, world_size)
    _zero(adapted, slot)
    _other_engines(adapted, slot)
    _attention(adapted, slot)
    if slot.is_cpu and adapted.dtype == "fp16":
        adapted.emulate_fp16 = True
    return adapted


def _positive(*values: Any) -> int:
    """The first that is a whole number above 0; the last is."""
    return next(int(v) for v in values if isinstance(v, int) and not isinstance(v, bool) and v > 0)


def _ranks(adapted: Adapted, plan: Plan | None, slot: Slot) -> None:
    wanted = plan.num_ranks if plan else None
    if wanted and wanted > adapted.num_ranks:
        what = f"{slot.max_ranks} ranks at most" if slot.is_cpu else f"{slot.max_ranks} GPUs"
        adapted.adaptations.append(
            Adaptation(
                path="/plan/num_ranks",
                before=wanted,
                after=adapted.num_ranks,
                reason=f"plan.num_ranks asks for {wanted} ranks, a slot of this worker has {what}",
            )
        )


def _batch(adapted: Adapted, world_size: int) -> None:
    """Literal batch sizes become those of so many ranks: micro-batch and accumulation stay the job's."""
    values = {
        "train_batch_size": adapted.micro_batch_size
        * adapted.gradient_accumulation_steps
        * adapted.num_ranks,
        "train_micro_batch_size_per_gpu": adapted.micro_batch_size,
        "gradient_accumulation_steps": adapted.gradient_accumulation_steps,
    }
    for key in _BATCH_KEYS:
        if key in adapted.config and adapted.config[key] != "auto":
            reason = (
                f"{adapted.micro_batch_size} rows x {adapted.gradient_accumulation_steps} accumulation steps x "
                f"{adapted.num_ranks} ranks of the trial (the job: {world_size})"
            )
            adapted.change(adapted.config, key, values[key], f"/deepspeed/{key}", reason)


def _above(value: Any, limit: int) -> bool:
    return isinstance(value, int) and value > limit


def _zero(adapted: Adapted, slot: Slot) -> None:
    config, ranks = adapted.config, adapted.num_ranks
    section = config.get("zero_optimization")
    if isinstance(section, dict):
        for key in _RANK_GROUPS:
            value = section.get(key)
            if isinstance(value, int) and value > 1 and ranks % value:
                size = ranks if value > ranks else 1
                adapted.change(
                    section, key, size, f"/deepspeed/zero_optimization/{key}", f"the trial has {ranks} ranks"
                )
        if slot.is_cpu:
            for key in _CUDA_ONLY:
                if section.get(key):
                    adapted.change(
                        section,
                        key,
                        False,
                        f"/deepspeed/zero_optimization/{key}",
                        "its kernels exist for CUDA only, and this is a CPU",
                    )


def _attention(adapted: Adapted, slot: Slot) -> None:
    """Attention that needs a GPU: FlashAttention, kernels from the hub, flex attention (no backward pass on a CPU)."""
    given = str(adapted.training.get("attn_implementation") or "")
    if slot.is_cpu and ("flash" in given or "/" in given or given == "flex_attention"):
        adapted.change(
            adapted.training,
            "attn_implementation",
            None,
            "/training/attn_implementation",
            "its kernels exist for GPUs only, and this is a CPU: the default of transformers ran, which computes the "
            "same",
        )


def _other_engines(adapted: Adapted, slot: Slot) -> None:
    """Other ways to divide the work than among data-parallel ranks, and engines that a CPU does not have."""
    config, ranks = adapted.config, adapted.num_ranks
    parallel = config.get("tensor_parallel")
    if isinstance(parallel, dict) and _above(parallel.get("autotp_size"), 1):
        adapted.change(
            config,
            "tensor_parallel",
            None,
            "/deepspeed/tensor_parallel",
            "the ranks of a trial are data-parallel, as those of its reference are: tensor parallelism was not "
            "exercised",
        )
    engine = config.get("hybrid_engine")
    if slot.is_cpu and isinstance(engine, dict) and engine.get("enabled"):
        adapted.change(
            engine,
            "enabled",
            False,
            "/deepspeed/hybrid_engine/enabled",
            "its kernels exist for CUDA only, and this is a CPU",
        )
    if _above(config.get("sequence_parallel_size"), ranks):
        adapted.change(
            config,
            "sequence_parallel_size",
            1,
            "/deepspeed/sequence_parallel_size",
            f"the trial has {ranks} ranks",
        )

"""What of a job decides about memory: stage, offload, precision, optimizer, buckets, ranks, the shape of a batch.

Read from the config that takes effect and the training arguments; what is absent has DeepSpeed's default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hotfire.dsconfig.batch_size import number
from hotfire.dsconfig.effective import precision, zero_stage
from hotfire.dsconfig.states import Placement, offload_of

#: Bytes of an optimizer's states for each trained scalar, by a part of its name; the first that matches.
#: Sources: bitsandbytes (blocks of 256 share an fp32 scale), torch.optim, deepspeed/ops.
_MOMENT_BYTES: tuple[tuple[str, float], ...] = (
    ("lion_8bit", 1.02), ("lion8bit", 1.02), ("lion_32bit", 4), ("lion", 4),
    ("ademamix_8bit", 3.05), ("ademamix", 12),
    ("8bit", 2.04), ("4bit", 1.06),
    ("adafactor", 0.1), ("galore", 4), ("apollo", 1), ("lomo", 0),
    ("onebit", 12), ("zeroone", 16), ("muon", 6),
    ("adagrad", 4), ("rmsprop", 4), ("sgd", 4), ("adam", 8), ("lamb", 8),
)  # fmt: skip
_ADAM_BYTES = 8.0
_WIDTHS = {"fp32": 4, "bf16": 2, "fp16": 2}
_GPUS_PER_NODE = 8
_ATTENTION = ("eager", "sdpa", "flash")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """A job as far as memory goes. Buckets and thresholds are in elements, as DeepSpeed counts them."""

    placement: Placement
    dtype: str = "bf16"
    world_size: int = 1
    """Ranks that share the states."""
    ranks_per_node: int = 1
    micro_batch_size: int = 1
    accumulation: int = 1
    length: int | None = None
    """Tokens of the longest row of a micro-batch; None: not known."""
    low_length: int | None = None
    """The same where rows may be shorter than that; None: `length`."""
    checkpointing: bool = False
    attention: str = "sdpa"
    """"eager", "sdpa" or "flash"."""
    master_bytes: int = 4
    """The copy of a weight that the optimizer updates."""
    moment_bytes: float = _ADAM_BYTES
    has_own_optimizer: bool = True
    """DeepSpeed makes the optimizer (a section of the config names it)."""
    step_bytes: float = 0.0
    """Temporaries of the optimizer's step for each scalar that a rank updates."""
    gradient_bytes: int = 2
    offload_ratio: float = 1.0
    """Share of the optimizer states that is offloaded (stage 3)."""
    is_nvme: bool = False
    pins: bool = False
    reduce_bucket: int = 500_000_000
    contiguous: bool = True
    overlaps: bool = False
    prefetch_bucket: int = 50_000_000
    max_live: int = 1_000_000_000
    persistence_threshold: int = 100_000
    sub_group: int = 1_000_000_000
    secondary: int = 1
    """ZeRO++ hpZ: ranks among which a second copy of the weights is divided; 1: there is none."""
    fused_loss: bool = False
    """The loss is computed without the whole logits (Liger)."""
    smooths_labels: bool = False
    adapter_dropout: bool = False
    loads_fp32: bool = False
    """Loading may take four bytes for each scalar (transformers before 5)."""
    has_context: bool = True
    """What is measured or available includes the runtime: context, kernels, communication."""
    on_cpu: bool = False
    """The ranks train on a CPU: no GPU context, and a bucket takes what is written into it."""

    @property
    def width(self) -> int:
        """Bytes of a weight."""
        return _WIDTHS[self.dtype]

    @property
    def stage(self) -> int:
        """ZeRO stage."""
        return self.placement.stage

    @property
    def offloads_optimizer(self) -> bool:
        """Optimizer states lie on the host."""
        return "optimizer" in (self.placement.offload or "")

    @property
    def offloads_param(self) -> bool:
        """Weights lie on the host."""
        return "param" in (self.placement.offload or "")


def setting_of(
    config: dict[str, Any],
    training: dict[str, Any],
    *,
    num_gpus: int,
    num_nodes: int | None = None,
    data_parallel_size: int | None = None,
    model_config: dict[str, Any] | None = None,
    longest_row: int | None = None,
    versions: dict[str, str] | None = None,
) -> Setting:
    """Reads a job.

    Args:
        config: The DeepSpeed config as it takes effect.
        training: The training arguments that were given.
        num_gpus: Of all nodes.
        num_nodes: None: 8 GPUs to a node.
        data_parallel_size: If other parallelism divides the world.
        model_config: For the attention kernel that it names.
        longest_row: Tokens of the longest row that is known of.
        versions: Of the target's libraries.
    """
    found = config.get("zero_optimization")
    zero: dict[str, Any] = found if isinstance(found, dict) else {}
    stage = zero_stage(config)
    dtype = precision(config)
    nodes = num_nodes or math.ceil(num_gpus / _GPUS_PER_NODE)
    optimizer, params = (
        section if isinstance(section := zero.get(name), dict) else {}
        for name in ("offload_optimizer", "offload_param")
    )
    length, low_length = _lengths(training, longest_row)
    defaults = Setting(placement=Placement(stage=stage))

    def elements(key: str, default: int) -> int:
        value = number(zero.get(key))
        return default if value is None or value < 0 else int(min(value, 2**62))

    def argument(name: str) -> bool:
        return bool(training.get(name))

    secondary = elements("zero_hpz_partition_size", 1) if stage == 3 else 1
    shards = elements("mics_shard_size", 0) if stage == 3 else 0
    peft = training.get("peft")
    return Setting(
        placement=Placement(stage=stage, offload=offload_of(zero)),
        dtype=dtype,
        world_size=max(1, shards or data_parallel_size or num_gpus),
        ranks_per_node=max(1, math.ceil(num_gpus / max(1, nodes))),
        micro_batch_size=_whole(config.get("train_micro_batch_size_per_gpu"))
        or _whole(training.get("per_device_train_batch_size"))
        or 1,
        accumulation=_whole(config.get("gradient_accumulation_steps")) or 1,
        length=length,
        low_length=low_length,
        checkpointing=argument("gradient_checkpointing"),
        attention=_attention(training, model_config or {}),
        master_bytes=2 if _has(config, dtype, f"{dtype}_master_weights_and_grads") else 4,
        moment_bytes=_moment_bytes(config, training)
        * (0.5 if _has(config, dtype, "bf16_optimizer_states") else 1),
        has_own_optimizer=isinstance(config.get("optimizer"), dict),
        step_bytes=8.0 if str(training.get("optim")) in ("adamw_torch", "adamw_hf") else 0.0,
        gradient_bytes=_gradient_bytes(config, dtype),
        offload_ratio=min(1.0, number(optimizer.get("ratio")) or 1.0) if stage == 3 else 1.0,
        is_nvme="nvme" in (optimizer.get("device"), params.get("device")),
        pins=bool(optimizer.get("pin_memory") or params.get("pin_memory")),
        reduce_bucket=elements("reduce_bucket_size", defaults.reduce_bucket),
        contiguous=zero.get("contiguous_gradients", True) is not False,
        overlaps=stage == 3 if zero.get("overlap_comm") is None else bool(zero.get("overlap_comm")),
        prefetch_bucket=elements("stage3_prefetch_bucket_size", defaults.prefetch_bucket),
        max_live=elements("stage3_max_live_parameters", defaults.max_live),
        persistence_threshold=elements("stage3_param_persistence_threshold", defaults.persistence_threshold),
        sub_group=elements("sub_group_size", defaults.sub_group) or defaults.sub_group,
        secondary=max(1, secondary),
        fused_loss=argument("use_liger_kernel"),
        smooths_labels=(number(training.get("label_smoothing_factor")) or 0) > 0,
        adapter_dropout=isinstance(peft, dict) and (number(peft.get("lora_dropout")) or 0) > 0,
        loads_fp32=not str((versions or {}).get("transformers", "")).startswith(("5", "6")),
    )


def _lengths(training: dict[str, Any], longest_row: int | None) -> tuple[int | None, int | None]:
    """(length to plan for, length that is the least to be expected).

    Rows are padded to the longest of their micro-batch, so `max_length` is what a row may have, not what each has;
    packed rows do have it. Where no row is known of, half of it is taken for the longest that is sure to come.
    """
    limit = _whole(training.get("max_length"))
    if limit is not None and training.get("packing"):
        return limit, limit
    if limit is None:
        return longest_row, longest_row
    if longest_row is not None:
        return limit, min(limit, longest_row)
    return limit, max(1, limit // 2)


def _whole(value: Any) -> int | None:
    as_number = number(value)
    return int(as_number) if as_number is not None and as_number >= 1 else None


def _attention(training: dict[str, Any], model_config: dict[str, Any]) -> str:
    for value in (
        training.get("attn_implementation"),
        model_config.get("attn_implementation"),
        model_config.get("_attn_implementation"),
    ):
        if isinstance(value, str):
            name = "flash" if "flash" in value else value
            return name if name in _ATTENTION else "sdpa"
    return "sdpa"


def _moment_bytes(config: dict[str, Any], training: dict[str, Any]) -> float:
    section = config.get("optimizer")
    named = section.get("type") if isinstance(section, dict) else None
    name = str(named or training.get("optim") or "adamw").lower()
    if name == "sgd":
        section = section if isinstance(section, dict) else {}
        params = section.get("params") if isinstance(section.get("params"), dict) else {}
        return 4.0 if number((params or {}).get("momentum")) else 0.0
    return next((size for part, size in _MOMENT_BYTES if part in name), _ADAM_BYTES)


def _has(config: dict[str, Any], section: str, key: str) -> bool:
    found = config.get(section)
    return isinstance(found, dict) and found.get(key) is True


def _gradient_bytes(config: dict[str, Any], dtype: str) -> int:
    section = config.get("data_types")
    named = section.get("grad_accum_dtype") if isinstance(section, dict) else None
    return _WIDTHS.get(str(named), _WIDTHS[dtype])

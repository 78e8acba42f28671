"""The key table: `zero_optimization`.

Source: deepspeed/runtime/zero/{config,offload_config,leaf_module_config}.py, zenflow/zenflow_config.py of
DeepSpeed 0.14.5 to 0.19.8 (the versions: from the sources of 34 releases).
"""

from __future__ import annotations

import sys

from hotfire.dsconfig.schema_keys import Key, anything, choice, flag, integer, number, section, text

_ALWAYS = "0"
_DEVICES = ("none", "cpu", "nvme")
_PINNED = ("0.19.5", False)

_OFFLOAD_PARAM = section(
    "offload_param",
    choice("device", _DEVICES, "none"),
    text("nvme_path", nullable=True),
    integer("buffer_count", 5, ge=0),
    integer("buffer_size", 100_000_000, ge=0),
    integer("max_in_cpu", 1_000_000_000, ge=0),
    flag("pin_memory", True, old_default=_PINNED),
    strict=_ALWAYS,
    nullable=True,
    stage3=True,
)

_OFFLOAD_OPTIMIZER = section(
    "offload_optimizer",
    choice("device", _DEVICES, "none"),
    text("nvme_path", nullable=True),
    integer("buffer_count", 4, ge=0),
    flag("pin_memory", True, old_default=_PINNED),
    flag("pipeline_read"),
    flag("pipeline_write"),
    flag("fast_init"),
    number("ratio", 1.0, ge=0.0, le=1.0),
    flag("super_offload", since="0.18.0", stage3=True),
    number("cpuadam_cores_perc", 0.8, ge=0.0, le=1.0, since="0.18.0", stage3=True),
    strict=_ALWAYS,
    nullable=True,
)

_ZENFLOW = section(
    "zenflow",
    number("topk_ratio", 0.1, gt=0.0, lt=1.0, bound_since="0.19.6", old_ge=0.0),
    choice("select_strategy", ("auto", "step", "epoch"), "auto"),
    anything("select_interval", "auto"),
    anything("update_interval", "auto"),
    flag("overlap_step"),
    flag("offload"),
    number("auto_ratio", 0.99, ge=0.0, le=1.0),
    integer("full_warm_up_rounds", 0),
    number("pt_reserved_cores_perc", 0.5, ge=0.0, le=1.0, since="0.17.6"),
    integer("steps_per_epoch", nullable=True),
    strict=_ALWAYS,
    nullable=True,
    since="0.17.5",
)

_LEAF_MODULE = section(
    "leaf_module",
    *(Key(name=name, kind="names") for name in ("classes", "names", "name_suffixes")),
    strict=_ALWAYS,
    nullable=True,
    since="0.18.0",
    stage3=True,
)


def _stage3(kind: Key, *, nickname: str) -> Key:
    """A key whose written name starts with stage3_ and whose field name does not."""
    return Key(
        name=kind.name,
        kind=kind.kind,
        default=kind.default,
        ge=kind.ge,
        since=kind.since,
        aliases=(nickname,),
        stage3=True,
    )


ZERO = section(
    "zero_optimization",
    choice("stage", (0, 1, 2, 3), 0),
    flag("contiguous_gradients", True),
    flag("reduce_scatter", True),
    # The releases' sources have gt=0 from 0.19.6 on; measured, 0.19.6 still accepted 0.
    integer("reduce_bucket_size", 500_000_000, gt=0, bound_since="0.19.7", old_ge=0),
    flag("use_multi_rank_bucket_allreduce", True),
    flag("allgather_partitions", True),
    integer("allgather_bucket_size", 500_000_000, ge=0),
    flag("overlap_comm", None, nullable=True),
    flag("compute_grad_norm", True, since="0.19.7"),
    flag("load_from_fp32_weights", True),
    flag("elastic_checkpoint"),
    _OFFLOAD_PARAM,
    _OFFLOAD_OPTIMIZER,
    _ZENFLOW,
    integer("sub_group_size", 1_000_000_000, ge=0, stage3=True),
    flag("cpu_offload_param", None, nullable=True, replaced_by="offload_param", stage3=True),
    flag("cpu_offload_use_pin_memory", None, nullable=True, replaced_by="offload_optimizer.pin_memory"),
    flag("cpu_offload", None, nullable=True, replaced_by="offload_optimizer"),
    _stage3(integer("stage3_prefetch_bucket_size", 50_000_000, ge=0), nickname="prefetch_bucket_size"),
    _stage3(
        integer("stage3_param_persistence_threshold", 100_000, ge=0), nickname="param_persistence_threshold"
    ),
    _stage3(
        integer("stage3_model_persistence_threshold", sys.maxsize, ge=0),
        nickname="model_persistence_threshold",
    ),
    _stage3(integer("stage3_max_live_parameters", 1_000_000_000, ge=0), nickname="max_live_parameters"),
    _stage3(integer("stage3_max_reuse_distance", 1_000_000_000, ge=0), nickname="max_reuse_distance"),
    _stage3(flag("stage3_gather_16bit_weights_on_model_save"), nickname="gather_16bit_weights_on_model_save"),
    _stage3(
        integer("stage3_module_granularity_threshold", 0, since="0.16.0"),
        nickname="module_granularity_threshold",
    ),
    _stage3(flag("stage3_use_all_reduce_for_fetch_params"), nickname="use_all_reduce_for_fetch_params"),
    _stage3(flag("stage3_allgather_sequential", since="0.18.5"), nickname="allgather_sequential"),
    flag(
        "stage3_gather_fp16_weights_on_model_save",
        replaced_by="stage3_gather_16bit_weights_on_model_save",
        stage3=True,
    ),
    flag("ignore_unused_parameters", True),
    flag("legacy_stage1"),
    flag("round_robin_gradients"),
    flag("parameter_alignment", since="0.19.7"),
    integer("zero_hpz_partition_size", 1, ge=0, stage3=True),
    flag("zero_quantized_weights", stage3=True),
    flag("zero_quantized_nontrainable_weights", stage3=True),
    flag("zero_quantized_gradients", stage3=True),
    flag("memory_efficient_linear", True, stage3=True),
    flag("pipeline_loading_checkpoint", stage3=True),
    flag("override_module_apply", True, stage3=True),
    flag("log_trace_cache_warnings", since="0.16.4", stage3=True),
    flag("enable_sanity_checks", since="0.17.6"),
    flag("save_muon_momentum_buffer_in_memory", since="0.18.9"),
    _LEAF_MODULE,
    integer("mics_shard_size", -1, until="0.19.7", removed="MiCS was taken out (DeepSpeed #8489)"),
    flag(
        "mics_hierarchical_params_gather",
        until="0.19.7",
        removed="MiCS was taken out (DeepSpeed #8489)",
    ),
    Key(
        name="zeropp_loco_param",
        kind="dict",
        nullable=True,
        since="0.16.2",
        until="0.19.8",
        removed="LoCo for ZeRO++ was taken out (DeepSpeed #8489)",
    ),
    strict=_ALWAYS,
)
"""`zero_optimization`."""

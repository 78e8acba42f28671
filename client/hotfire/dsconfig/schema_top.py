"""The key table: the top level, its unchecked sections, and what was taken out.

At the top level DeepSpeed asks for the names it knows and looks at no others: an unknown one is silently
ignored. Values are checked only where they are used.

Source: deepspeed/runtime/{config,constants}.py and the `constants.py` of the packages named there, DeepSpeed
0.14.5 to 0.19.8.
"""

from __future__ import annotations

from hotfire.dsconfig.schema_data import DATA_EFFICIENCY
from hotfire.dsconfig.schema_keys import (
    Key,
    Section,
    anything,
    choice,
    flag,
    integer,
    number,
    section,
    text,
    unchecked,
)
from hotfire.dsconfig.schema_sections import (
    BF16,
    BFLOAT16,
    COMMS_LOGGER,
    COMPILE,
    EXPERT_PARALLEL,
    FP16,
    HYBRID_ENGINE,
    MONITORS,
    OPTIMIZER,
    SCHEDULER,
    TENSOR_PARALLEL,
    TIMERS,
    TORCH_AUTOCAST,
    WEIGHT_QUANTIZATION,
)
from hotfire.dsconfig.schema_zero import ZERO

_ISSUE = "DeepSpeed #8489"
_DTYPES = ("fp16", "bf16", "fp32")


def _gone(name: str, until: str, why: str, kind: str = "any") -> Key:
    return Key(name=name, kind=kind, until=until, removed=f"{why} ({_ISSUE})")


_REMOVED = (
    _gone(
        "nebula", "0.19.7", "Nebula checkpointing was taken out: checkpoints would fall back to torch.save"
    ),
    _gone(
        "compression_training", "0.19.7", "the compression library was taken out: nothing would be quantized"
    ),
    _gone("quantize_training", "0.19.7", "Mixture-of-Quantization was taken out"),
    _gone("sparse_attention", "0.19.7", "sparse attention was taken out"),
    _gone("amp", "0.19.8", "Apex AMP was taken out; use fp16, bf16 or torch_autocast"),
    _gone("sparse_gradients", "0.19.8", "sparse gradients of dense embeddings were taken out", "bool"),
    _gone("eigenvalue", "0.19.8", "eigenvalue-based quantization was taken out"),
    _gone("elasticity", "0.19.8", "elastic training was taken out; give the batch sizes themselves"),
    _gone("graph_harvesting", "0.19.8", "graph harvesting was taken out", "bool"),
    _gone(
        "curriculum_learning",
        "0.19.8",
        "the top-level form was taken out; use data_efficiency.data_sampling.curriculum_learning",
    ),
    _gone("progressive_layer_drop", "0.19.8", "progressive layer dropping was taken out"),
)

_ACTIVATION_CHECKPOINTING = section(
    "activation_checkpointing",
    flag("partition_activations"),
    integer("number_checkpoints", nullable=True),
    flag("contiguous_memory_optimization"),
    flag("synchronize_checkpoint_boundary"),
    flag("profile"),
    flag("cpu_checkpointing"),
)

_FLOPS_PROFILER = section(
    "flops_profiler",
    flag("enabled"),
    number("recompute_fwd_factor", 0.0),
    integer("profile_step", 1),
    integer("module_depth", -1),
    integer("top_modules", 1),
    flag("detailed", True),
    text("output_file", nullable=True),
)

_CHECKPOINT = section(
    "checkpoint",
    choice("tag_validation", ("Warn", "Ignore", "Fail"), "Warn"),
    flag("load_universal"),
    flag("use_node_local_storage"),
    section("parallel_write", flag("pipeline_stage")),
    flag("checkpoint_serialization", True, since="0.17.1"),
    section(
        "writer",
        choice("type", ("MOCK", "PYTHON", "FAST"), nullable=True),
        choice("data_parallel", ("REPLICA", "SOCKET", "MACHINE"), nullable=True),
        *unchecked("io_buffer_size io_buffer_double io_multiplier show_statistics decoupled"),
        since="0.17.1",
        nullable=True,
    ),
)

_DATA_TYPES = section(
    "data_types",
    anything("grad_accum_dtype"),
    anything("param_dtype", since="0.19.2"),
    anything("buffer_dtype", since="0.19.2"),
    anything("keep_in_fp32_modules", "auto", since="0.19.8"),
)

_AIO = section(
    "aio",
    integer("block_size", 1048576),
    integer("queue_depth", 8),
    integer("intra_op_parallelism", 1, since="0.16.4"),
    integer("thread_count", 1, until="0.16.4", replaced_by="intra_op_parallelism"),
    flag("single_submit"),
    flag("overlap_events", True),
    flag("use_gds", since="0.15.0"),
    nullable=True,
)

_PIPELINE = section(
    "pipeline",
    *unchecked(
        "stages partition seed_layers activation_checkpoint_interval pipe_partitioned grad_partitioned "
        "use_reentrant dynamic_shape"
    ),
    any_key=True,
)

_AUTOTUNING = section(
    "autotuning",
    flag("enabled"),
    section("model_info", any_key=True, nullable=True),
    *unchecked(
        "fast results_dir exps_dir overwrite start_profile_step end_profile_step start_step end_step metric "
        "metric_path tuner_type tuner_early_stopping tuner_num_trials arg_mappings "
        "model_info_path mp_size max_train_batch_size min_train_batch_size max_train_micro_batch_size_per_gpu "
        "min_train_micro_batch_size_per_gpu num_tuning_micro_batch_sizes"
    ),
)

ROOT = Section(
    keys=(
        integer("train_batch_size"),
        integer("train_micro_batch_size_per_gpu"),
        integer("gradient_accumulation_steps"),
        flag("managed_gradient_accumulation", True, since="0.19.4"),
        number("steps_per_print", nullable=True),
        flag("dump_state"),
        flag("disable_python_gc", since="0.19.8"),
        flag("disable_allgather"),
        choice("communication_data_type", _DTYPES, nullable=True),
        choice("seq_parallel_communication_data_type", _DTYPES, "fp32", nullable=True),
        anything(
            "seq_parallel_comm_data_type",
            until="0.16.5",
            replaced_by="seq_parallel_communication_data_type",
        ),
        flag("prescale_gradients"),
        number("gradient_predivide_factor", 1.0),
        choice("gradient_allreduce_op", ("mean", "sum"), "mean", since="0.19.6"),
        ZERO,
        number("allgather_size"),
        _ACTIVATION_CHECKPOINTING,
        COMMS_LOGGER,
        *MONITORS,
        number("gradient_clipping", 1.0, old_default=("0.19.3", 0.0)),
        FP16,
        BF16,
        BFLOAT16,
        TORCH_AUTOCAST,
        OPTIMIZER,
        SCHEDULER,
        flag("zero_allow_untested_optimizer"),
        flag("zero_force_ds_cpu_optimizer", True),
        _FLOPS_PROFILER,
        flag("wall_clock_breakdown"),
        flag("memory_breakdown"),
        _AUTOTUNING,
        flag("use_data_before_expert_parallelism"),
        HYBRID_ENGINE,
        _PIPELINE,
        DATA_EFFICIENCY,
        _CHECKPOINT,
        _DATA_TYPES,
        _AIO,
        flag("dataloader_drop_last"),
        text("log_level", nullable=True, since="0.19.3"),
        anything("datastates_ckpt", since="0.18.2"),
        WEIGHT_QUANTIZATION,
        COMPILE,
        TIMERS,
        TENSOR_PARALLEL,
        EXPERT_PARALLEL,
        integer("vocabulary_size", nullable=True),
        integer("sequence_parallel_size", 1),
        integer("data_parallel_size"),
        # Not DeepSpeed's: read by accelerate (msamp) and by the HF Trainer (inference).
        *unchecked("msamp inference"),
        *_REMOVED,
    )
)
"""The whole config."""

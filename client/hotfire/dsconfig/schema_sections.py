"""The key table: precision, optimizer, scheduler, monitors, compile, parallelism.

Source: deepspeed/runtime/{precision_config,constants,lr_schedules}.py, runtime/tensor_parallel/config.py, the
config.py of monitor, comm, compile, utils and inference, DeepSpeed 0.14.5 to 0.19.8.
"""

from __future__ import annotations

from hotfire.dsconfig.schema_keys import (
    Key,
    anything,
    choice,
    flag,
    integer,
    number,
    section,
    text,
    unchecked,
)

_STRICT_PRECISION = "0.17.1"
_BF16_FULL = "0.18.3"
_AUTOTP_CONFIG = "0.18.6"

FP16 = section(
    "fp16",
    flag("enabled"),
    flag("auto_cast"),
    number("loss_scale", 0.0),
    integer("initial_scale_power", 16),
    integer("loss_scale_window", 1000),
    integer("hysteresis", 2),
    flag("consecutive_hysteresis"),
    integer("min_loss_scale", 1),
    flag("fp16_master_weights_and_grads"),
    strict=_STRICT_PRECISION,
)

_BF16_KEYS = (
    flag("enabled"),
    flag("immediate_grad_update"),
    flag("check_grad_overflow", True, old_default=("0.19.3", False)),
    flag("bf16_master_weights_and_grads", since=_BF16_FULL),
    flag("bf16_optimizer_states", since=_BF16_FULL),
)
BF16 = section("bf16", *_BF16_KEYS, strict=_STRICT_PRECISION, nullable=True)
BFLOAT16 = section("bfloat16", *_BF16_KEYS, strict=_STRICT_PRECISION, replaced_by="bf16")

TORCH_DTYPES = (
    *("fp16", "float16", "half", "torch.float16"),
    *("bf16", "bfloat16", "torch.bfloat16"),
    *("fp32", "float32", "float", "torch.float32"),
    *("int8", "torch.int8"),
)
"""Every name that DeepSpeed has for a number format."""

TORCH_AUTOCAST = section(
    "torch_autocast",
    flag("enabled"),
    choice("dtype", TORCH_DTYPES),
    Key(name="lower_precision_safe_modules", kind="names"),
    since="0.17.2",
)

OPTIMIZER = section(
    "optimizer",
    text("type"),
    section(
        "params",
        number("lr"),
        Key(name="betas", kind="number-list"),
        number("eps"),
        number("weight_decay"),
        number("momentum"),
        any_key=True,
    ),
    flag("legacy_fusion"),
)

SCHEDULER = section("scheduler", text("type"), section("params", any_key=True))

_WARMUP = (anything("warmup_type"), integer("warmup_num_steps", 1000), anything("last_batch_iteration"))
_RATES = (number("warmup_min_lr", 0.0), number("warmup_max_lr"))
SCHEDULERS: dict[str, tuple[Key, ...]] = {
    "WarmupLR": (*_RATES, *_WARMUP),
    "WarmupDecayLR": (number("total_num_steps"), *_RATES, *_WARMUP),
    "WarmupCosineLR": (
        number("total_num_steps"),
        number("warmup_min_ratio"),
        number("cos_min_ratio"),
        *_WARMUP,
    ),
    "OneCycle": (
        number("cycle_min_lr"),
        number("cycle_max_lr"),
        number("decay_lr_rate"),
        number("cycle_first_step_size"),
        number("cycle_second_step_size", nullable=True),
        number("cycle_first_stair_count"),
        number("cycle_second_stair_count", nullable=True),
        number("decay_step_size"),
        flag("cycle_momentum"),
        number("cycle_min_mom"),
        number("cycle_max_mom"),
        number("decay_mom_rate"),
        anything("last_batch_iteration"),
    ),
    "LRRangeTest": (
        number("lr_range_test_min_lr"),
        integer("lr_range_test_step_size"),
        number("lr_range_test_step_rate"),
        flag("lr_range_test_staircase"),
        anything("last_batch_iteration"),
    ),
}
"""Type of DeepSpeed scheduler -> what its constructor takes; another name is a TypeError."""

_FILES = (text("output_path", ""), text("job_name", "DeepSpeedJobName"))
MONITORS = (
    section("tensorboard", flag("enabled"), *_FILES, strict="0"),
    section("csv_monitor", flag("enabled"), *_FILES, strict="0"),
    section(
        "wandb",
        flag("enabled"),
        text("group", nullable=True),
        text("team", nullable=True),
        text("project", "deepspeed"),
        strict="0",
    ),
    section(
        "comet",
        flag("enabled"),
        integer("samples_log_interval", 100),
        text("project", nullable=True),
        text("workspace", nullable=True),
        text("api_key", nullable=True),
        text("experiment_name", nullable=True),
        text("experiment_key", nullable=True),
        flag("online", None, nullable=True),
        text("mode", nullable=True),
        strict="0",
    ),
)

COMMS_LOGGER = section(
    "comms_logger",
    flag("enabled"),
    flag("prof_all", True),
    Key(name="prof_ops", kind="list"),
    flag("verbose"),
    flag("debug"),
    strict="0",
)

COMPILE = section(
    "compile",
    flag("deepcompile"),
    flag("autoep_non_moe", since="0.19.8"),
    flag("free_activation"),
    integer("free_activation_threshold", 10 * 1024 * 1024, since="0.18.0"),
    flag("offload_activation"),
    flag("offload_activation_pin_memory", True, since="0.19.6"),
    flag("offload_opt_states"),
    flag("double_buffer", True),
    flag("symmetric_memory"),
    flag("debug_log"),
    flag("offload_parameters"),
    flag("sync_before_reduce"),
    flag("sync_after_reduce"),
    flag("sync_before_allgather"),
    flag("sync_after_allgather"),
    flag("keep_int_input_tensors", True, since="0.17.2"),
    flag("keep_all_input_tensors", since="0.17.2"),
    Key(name="passes", kind="list", choices=("z1", "z3", "autosp", "autotp"), nullable=True, since="0.18.9"),
    strict="0",
    since="0.16.6",
)

_TP = section(
    "tp",
    integer("tp_size", 1),
    integer("tp_grain_size", 1),
    anything("mpu"),
    anything("tp_group"),
    strict="0",
    aliases=("tensor_parallel",),
)
TENSOR_PARALLEL = section(
    "tensor_parallel",
    Key(name="dtype", kind="none"),
    integer("autotp_size", 0),
    flag("tp_overlap_comm", since="0.16.6"),
    flag("vocab_parallel_lm_head", None, nullable=True, since="0.19.8"),
    choice("vocab_parallel_ce_backend", ("torch", "liger"), "torch", since="0.19.8"),
    _TP,
    Key(name="injection_policy_tuple", kind="list", nullable=True),
    Key(name="partition_config", kind="dict", nullable=True, since=_AUTOTP_CONFIG),
    text("preset_model", nullable=True, since=_AUTOTP_CONFIG),
    flag("keep_module_on_host"),
    flag("kernel_inject", aliases=("replace_with_kernel_inject",)),
    strict="0",
    since="0.16.4",
)

EXPERT_PARALLEL = section(
    "expert_parallel",
    flag("enabled"),
    *unchecked(
        "autoep_size expert_tensor_parallel_size validate_folding_routing async_split_plan preset_model "
        "moe_layer_pattern expert_pattern router_pattern use_grouped_mm disable_triton_grouped_mm route_norm "
        "route_scale score_apply combine_impl row_weighting_impl gate_up_impl comm_backend comm_num_sm "
        "comm_qp_margin comm_max_tokens_per_rank num_expert_groups num_limited_groups score_func top_k "
        "load_balance_coeff routed_scaling_factor expert_w1 expert_w2 expert_w3 num_experts_attr top_k_attr "
        "has_shared_experts shared_experts_pattern shared_experts_gate_pattern expert_activation"
    ),
    since="0.19.2",
    nullable=True,
)

HYBRID_ENGINE = section(
    "hybrid_engine",
    flag("enabled"),
    integer("max_out_tokens", 512, gt=0, bound_since="0.19.7"),
    integer("inference_tp_size", 1),
    flag("release_inference_cache"),
    flag("pin_parameters", True),
    integer("tp_gather_partition_size", 8),
    flag("enable_cuda_graph", since="0.19.6"),
    strict="0",
)

WEIGHT_QUANTIZATION = section(
    "weight_quantization",
    flag("enabled", True),
    integer("num_bits", 8),
    choice("q_type", ("symmetric", "asymmetric"), "symmetric"),
    integer("q_groups", 1),
    Key(name="quantized_initialization", kind="dict"),
    Key(name="post_init_quant", kind="dict"),
    strict="0",
)

TIMERS = section(
    "timers", section("throughput", flag("enabled", True), flag("synchronized", True), strict="0")
)

"""Training arguments as the spec takes them: from a mapping, or from a `TrainingArguments` object.

Known names are typed fields of `TrainingSpec`; every other name of `transformers.TrainingArguments`, and how rows are
packed, goes into `other`; anything else is an error, because a misspelt argument is what a preflight is for.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hotfire.errors import Violation

# transformers 5.23 TrainingArguments, without the names that are typed fields.
_NOW = """
output_dir lr_scheduler_kwargs optim_args optim_target_modules average_tokens_across_devices bf16_full_eval
fp16_full_eval tf32 activation_checkpointing activation_checkpointing_kwargs torch_compile
torch_compile_backend torch_compile_mode use_liger_kernel liger_kernel_config use_cache neftune_noise_alpha
torch_empty_cache_steps auto_find_batch_size logging_strategy logging_steps logging_first_step
log_on_each_node logging_nan_inf_filter include_num_input_tokens_seen log_level log_level_replica
disable_tqdm report_to run_name project trackio_space_id trackio_bucket_id trackio_static_space_id
eval_strategy eval_steps eval_delay per_device_eval_batch_size prediction_loss_only eval_on_start
eval_do_concat_batches eval_use_gather_object eval_accumulation_steps include_for_metrics batch_eval_metrics
save_only_model save_strategy save_steps save_on_each_node save_total_limit enable_jit_checkpoint
push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push hub_revision
load_best_model_at_end metric_for_best_model greater_is_better ignore_data_skip
restore_callback_states_from_checkpoint full_determinism data_seed use_cpu accelerator_config
parallelism_config dataloader_drop_last dataloader_num_workers dataloader_pin_memory
dataloader_persistent_workers dataloader_prefetch_factor dataloader_multiprocessing_context
dataloader_in_order remove_unused_columns label_names train_sampling_strategy length_column_name
ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout
fsdp fsdp_config deepspeed debug skip_memory_metrics do_train do_eval do_predict resume_from_checkpoint
local_rank
"""
# Names that transformers 4.x had and 5.x dropped or renamed.
_BEFORE = """
overwrite_output_dir evaluation_strategy per_gpu_train_batch_size per_gpu_eval_batch_size logging_dir
save_safetensors no_cuda use_mps_device jit_mode_eval use_ipex fp16_opt_level half_precision_backend
fp16_backend tpu_num_cores tpu_metrics_debug past_index group_by_length gradient_checkpointing_use_reentrant
include_inputs_for_metrics include_tokens_per_second push_to_hub_model_id push_to_hub_organization
push_to_hub_token mp_parameters ray_scope torchdynamo dispatch_batches split_batches sharded_ddp
fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap adafactor xpu_backend bf16_backend
"""
# How rows are packed: TRL's SFTConfig, LLaMA-Factory's arguments.
_PACKING = "packing_strategy neat_packing"
OTHER_NAMES = frozenset(f"{_NOW} {_BEFORE} {_PACKING}".split())
"""Names of `TrainingArguments` (and of packing) that are not typed fields of `TrainingSpec`."""

#: Never leave this machine.
_SECRET = frozenset({"hub_token", "push_to_hub_token"})
#: Not an argument of the step, or said elsewhere in the spec.
_SAID_ELSEWHERE = frozenset({"deepspeed", "local_rank", "output_dir", "logging_dir"})
_RENAMED = {"max_seq_length": "max_length"}


def typed_names() -> list[str]:
    """The typed fields of `TrainingSpec`."""
    from hotfire.v1 import spec_pb2

    return [f.name for f in spec_pb2.TrainingSpec.DESCRIPTOR.fields if f.name != "other"]


def split_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Moves the names that are not typed fields, but are `TrainingArguments`, into `other`.

    Unknown names stay where they are: reading the message reports them.
    """
    typed = set(typed_names())
    result: dict[str, Any] = {}
    other: dict[str, Any] = {}
    for name, value in arguments.items():
        if name not in typed and name in OTHER_NAMES:
            if name not in _SECRET and name not in _SAID_ELSEWHERE:
                other[name] = value
        else:
            result[name] = value
    if other:
        given = result.get("other")
        result["other"] = other | (dict(given) if isinstance(given, Mapping) else {})
    return result


def training_arguments(arguments: Any, /, **more: Any) -> dict[str, Any]:
    """A `TrainingArguments` (or TRL's `SFTConfig`) object as a mapping for the spec.

    Typed arguments are all taken; of the others those that differ from the class's default.

    Args:
        arguments: The object. It is only looked at; transformers is not imported.
        **more: What such an object cannot say: `max_length`, `peft` (a `LoraConfig` or its dict),
            `assistant_only_loss`, ...

    Returns:
        The mapping; `loop` is "trainer", since the HF Trainer is what takes such an object.
    """
    typed = set(typed_names())
    defaults = {f.name: _default_of(f) for f in dataclasses.fields(arguments)}
    result: dict[str, Any] = {"loop": "trainer"}
    other: dict[str, Any] = {}
    for name, default in defaults.items():
        value = plain(getattr(arguments, name, None))
        name = _RENAMED.get(name, name)
        if value is None or name in _SECRET or name in _SAID_ELSEWHERE:
            continue
        if name in typed:
            result[name] = value
        elif value != plain(default) and _is_json(value):
            other[name] = value
    if other:
        result["other"] = other
    return result | {name: plain(value) for name, value in more.items()}


def is_arguments_object(value: Any) -> bool:
    """Whether a value looks like a `TrainingArguments` object."""
    return (
        dataclasses.is_dataclass(value)
        and not isinstance(value, type)
        and hasattr(value, "per_device_train_batch_size")
    )


def plain(value: Any) -> Any:
    """A value as JSON can say it: enums, sets, arrays and config objects become what they stand for."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(v) for v in value), key=str)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(v) for v in value]
    for method in ("to_dict", "tolist", "isoformat"):
        if callable(getattr(value, method, None)) and not isinstance(value, type):
            return plain(getattr(value, method)())
    return value


def unsendable(value: Any, path: str) -> list[Violation]:
    """What in a plain value JSON cannot say, with its place."""
    if isinstance(value, Mapping):
        return [v for k, item in value.items() for v in unsendable(item, f"{path}.{k}")]
    if isinstance(value, list):
        return [v for i, item in enumerate(value) for v in unsendable(item, f"{path}[{i}]")]
    if value is None or isinstance(value, str | bool | int | float):
        return []
    return [
        Violation(field=path, description=f"a {type(value).__name__} cannot be sent; give text or numbers")
    ]


def _is_json(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not unsendable(value, "")


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None

"""The file of `accelerate config` (default_config.yaml): the cluster, and the DeepSpeed config or where it lies.

Source: `accelerate/commands/config/config_args.py` (`ClusterConfig`), `utils/launch.py`
(`prepare_deepspeed_cmd_env`), `DeepSpeedPlugin.__post_init__` (accelerate 1.15).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hotfire.adapters.base import Adapted, Reader, numeric

_LAUNCH = (
    "compute_environment", "debug", "downcast_bf16", "dynamo_config", "enable_cpu_affinity", "gpu_ids", "machine_rank",
    "main_process_ip", "main_process_port", "main_training_function", "rdzv_backend", "same_network", "tpu_env",
    "tpu_name", "tpu_zone", "tpu_use_cluster", "tpu_use_sudo", "use_cpu", "command_file", "commands",
)  # fmt: skip
_LAUNCHER_KEYS = (
    "deepspeed_multinode_launcher",
    "deepspeed_hostfile",
    "deepspeed_inclusion_filter",
    "deepspeed_exclusion_filter",
    "deepspeed_moe_layer_cls_names",
    "zero3_init_flag",
)


def adapt(arguments: Mapping[str, Any], base: Path) -> Adapted:
    """A spec from the file: without model and data, which the script says.

    Args:
        arguments: The file.
        base: Its folder.
    """
    reader = Reader("accelerate", arguments, base)
    reader.move("num_processes", "cluster", "num_gpus", int)
    reader.move("num_machines", "cluster", "num_nodes", int)
    precision = reader.take("mixed_precision", "training.bf16, training.fp16")
    reader.put("training", "bf16", True if precision == "bf16" else None)
    reader.put("training", "fp16", True if precision == "fp16" else None)
    if precision == "fp8":
        reader.notes.append("mixed_precision fp8 is not tried")
    kind = reader.take("distributed_type", "deepspeed")
    if kind is not None and str(kind).rpartition(".")[2] != "DEEPSPEED":
        reader.notes.append(f"distributed_type {kind}: this job does not use DeepSpeed")
    section = reader.take("deepspeed_config", "deepspeed")
    if isinstance(section, Mapping):
        _deepspeed(reader, section)
    for name in _LAUNCH:
        reader.drop(name, "how processes are started is of no matter to a step")
    reader.put("training", "loop", "accelerate")
    return reader.result()


def _deepspeed(reader: Reader, given: Mapping[str, Any]) -> None:
    """The section's keys; with a file in it accelerate refuses the others."""
    section = {key: _plain(value) for key, value in given.items()}
    accumulation = section.get("gradient_accumulation_steps")
    if isinstance(accumulation, int):
        reader.put("training", "gradient_accumulation_steps", accumulation)
    file = section.get("deepspeed_config_file")
    if file:
        reader.deepspeed = reader.config_file(file)
    else:
        reader.deepspeed = _written_out(section)
    known = {"deepspeed_config_file", *_LAUNCHER_KEYS, *_WRITTEN_OUT}
    for key in section:
        inner = f"deepspeed_config.{key}"
        if key in _LAUNCHER_KEYS or key not in known:
            reader.ignored[inner] = "how the job is started or loaded, not what a step does"
        elif file and key != "deepspeed_config_file" and key != "gradient_accumulation_steps":
            reader.ignored[inner] = "accelerate takes it from the DeepSpeed file"
        else:
            reader.mapped[inner] = "deepspeed"


_WRITTEN_OUT = (
    "zero_stage",
    "gradient_accumulation_steps",
    "gradient_clipping",
    "offload_optimizer_device",
    "offload_optimizer_nvme_path",
    "offload_param_device",
    "offload_param_nvme_path",
    "zero3_save_16bit_model",
)


def _written_out(section: Mapping[str, Any]) -> dict[str, Any]:
    """The config that accelerate's plugin makes where no file is named."""
    offload = {}
    for name in ("offload_optimizer", "offload_param"):
        device = section.get(f"{name}_device") or "none"
        offload[name] = {"device": device}
        if device == "nvme":
            offload[name]["nvme_path"] = section.get(f"{name}_nvme_path")
    config: dict[str, Any] = {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": section.get("gradient_accumulation_steps", 1),
        "zero_optimization": {
            "stage": section.get("zero_stage", 2),
            **offload,
            "stage3_gather_16bit_weights_on_model_save": bool(section.get("zero3_save_16bit_model", False)),
        },
        "zero_allow_untested_optimizer": True,
    }
    if clipping := section.get("gradient_clipping"):
        config["gradient_clipping"] = numeric(clipping)
    return config


def _plain(value: Any) -> Any:
    """The file writes some values as text: "none", "true", "2"."""
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        if text.isdigit():
            return int(text)
    return value

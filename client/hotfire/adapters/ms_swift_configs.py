"""The DeepSpeed configs that ms-swift has names for: `--deepspeed zero2` and the like.

Facts of `swift/config/{zero0,zero1,zero2,zero2_offload,zero3,zero3_offload}.json` (ms-swift 4).
"""

from __future__ import annotations

import copy
from typing import Any

_AUTO = (
    "gradient_accumulation_steps",
    "gradient_clipping",
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
)
_LOSS_SCALING = {
    "enabled": "auto",
    "loss_scale": 0,
    "loss_scale_window": 1000,
    "initial_scale_power": 16,
    "hysteresis": 2,
    "min_loss_scale": 1,
}
#: Of the stages below 3.
_PARTITIONS = {
    "allgather_partitions": True,
    "allgather_bucket_size": 2e8,
    "overlap_comm": False,
    "reduce_scatter": True,
    "reduce_bucket_size": 2e8,
    "contiguous_gradients": True,
}
_PARAMETERS = {
    "overlap_comm": False,
    "contiguous_gradients": True,
    "sub_group_size": 1e9,
    "reduce_bucket_size": "auto",
    "stage3_prefetch_bucket_size": "auto",
    "stage3_param_persistence_threshold": "auto",
    "stage3_max_live_parameters": 1e9,
    "stage3_max_reuse_distance": 1e9,
    "stage3_gather_16bit_weights_on_model_save": True,
}
_QUANTIZED = {"zero_quantized_weights": False, "zero_quantized_gradients": False}
_CPU, _NONE = {"device": "cpu", "pin_memory": True}, {"device": "none", "pin_memory": True}

_ZERO: dict[str, dict[str, Any]] = {
    "zero0": {"stage": 0, **_PARTITIONS},
    "zero1": {"stage": 1, "offload_optimizer": _NONE, **_PARTITIONS},
    "zero2": {"stage": 2, "offload_optimizer": _NONE, **_PARTITIONS},
    "zero2_offload": {"stage": 2, "offload_optimizer": _CPU, **_PARTITIONS},
    "zero3": {"stage": 3, "offload_optimizer": _NONE, "offload_param": _NONE, **_PARAMETERS, **_QUANTIZED},
    "zero3_offload": {"stage": 3, "offload_optimizer": _CPU, "offload_param": _CPU, **_PARAMETERS},
}
NAMES = tuple(_ZERO)


def named_config(name: str) -> dict[str, Any]:
    """The config behind a name.

    Raises:
        KeyError: ms-swift has no such name.
    """
    return copy.deepcopy(
        {
            "fp16": _LOSS_SCALING,
            "bf16": {"enabled": "auto"},
            "zero_optimization": _ZERO[name],
            **dict.fromkeys(_AUTO, "auto"),
            "steps_per_print": 2000,
            "wall_clock_breakdown": False,
        }
    )

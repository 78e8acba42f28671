"""What DeepSpeed and the runtime hold besides states and activations, on one GPU.

Sources: `setup_buckets` of `deepspeed/runtime/zero/{stage_1_and_2,stage3}.py` (0.19.8), which allocate buckets in
full; `partitioned_param_coordinator.py` for what stage 3 gathers ahead and keeps. The share of the CUDA context,
cuBLAS and NCCL is a range of what nvidia-smi shows above PyTorch's own count.
"""

from __future__ import annotations

from dataclasses import dataclass

from hotfire.dsconfig.memory_model import Decoder
from hotfire.dsconfig.memory_setting import Setting
from hotfire.dsconfig.memory_trainable import Trained

_MIB = 2**20
#: (least, expected, most) of context, kernels, cuBLAS workspaces, NCCL.
_RUNTIME = (450 * _MIB, 900 * _MIB, 1800 * _MIB)
#: On a CPU: thread pools, code that is loaded late, what the allocator keeps.
_CPU_RUNTIME = (20 * _MIB, 110 * _MIB, 260 * _MIB)
_NO_RUNTIME = (0, 0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Buffers:
    """Bytes of one rank: the least, the expected, the most."""

    working: tuple[float, float, float]
    """While a backward pass runs."""
    runtime: tuple[int, int, int]
    """Always."""


def buffers_of(model: Decoder, trained: Trained, setting: Setting) -> Buffers:
    """Buckets, gathered weights, gradients on their way, and the runtime."""
    fixed = _bucket(trained, setting) + _passing_gradients(model, trained, setting)
    low, expected, high = _live(model, setting)
    return Buffers(
        working=(fixed + low, fixed + expected, fixed + high),
        runtime=_NO_RUNTIME if not setting.has_context else _CPU_RUNTIME if setting.on_cpu else _RUNTIME,
    )


def _bucket(trained: Trained, setting: Setting) -> float:
    if setting.stage == 0:
        return 0.0  # used when no activation is alive, and smaller than what the step takes then
    size = min(setting.reduce_bucket, trained.trainable)
    if setting.contiguous and not setting.on_cpu:
        size = setting.reduce_bucket  # allocated, whether the model fills it or not
    copies = 2 if setting.stage < 3 and setting.overlaps else 1
    return size * setting.gradient_bytes * copies


def _passing_gradients(model: Decoder, trained: Trained, setting: Setting) -> float:
    """The gradient that backward has made and no bucket has taken yet; offload has room for two of the largest."""
    if trained.is_frozen_base:
        return 0.0
    copies = 2 if setting.offloads_optimizer and setting.stage < 3 else 1
    return model.largest_tensor * setting.gradient_bytes * (copies if setting.stage else 0)


def _live(model: Decoder, setting: Setting) -> tuple[float, float, float]:
    """What stage 3 has gathered: at least a layer and what is fetched ahead, at most `max_live_parameters`."""
    if setting.stage != 3:
        return 0.0, 0.0, 0.0
    total, width = model.num_parameters, setting.width
    if setting.world_size == 1 and not setting.offloads_param:
        return 0.0, 0.0, 0.0  # `_no_gather_coalesced`: the partition is the weight
    small = sum(scalars for size, scalars in model.by_size if size <= setting.persistence_threshold)
    least = min(total, model.largest_layer + setting.prefetch_bucket)
    usual = min(total, max(least, setting.max_live))
    most = min(total, usual + model.largest_layer)
    return (least + small) * width, (usual + small) * width, (most + small) * width

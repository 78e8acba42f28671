"""What one host needs: the ranks themselves, what is offloaded, the model while it is loaded.

Sources: `from_pretrained` of transformers (each rank loads the whole model, but under stage 3, where it goes through
the checkpoint file by file); PyTorch rounds pinned memory up to the next power of two
(`c10/core/CachingHostAllocator.h`); deepspeedai/DeepSpeed issues 3160, 3823, 4239, 4571; failure F103.
"""

from __future__ import annotations

from dataclasses import dataclass

from hotfire.dsconfig.memory_setting import Setting
from hotfire.dsconfig.memory_trainable import Trained
from hotfire.dsconfig.states import States

_GIB = 2**30
#: (least, expected, most) of one rank with its imports and its context.
_RANK = (1.0 * _GIB, 2.5 * _GIB, 5.0 * _GIB)
#: A checkpoint file, of which stage 3 has one at a time in each rank.
_FILE_BYTES = 5 * 10**9
_PINNED = (1.0, 1.25, 1.5)
_FP32 = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class HostMemory:
    """Bytes of one host, all its ranks together: the least, the expected, the most."""

    low: float
    expected: float
    high: float
    offload: float
    """Of the expected: what is offloaded."""
    loading: float
    """Of the expected, for as long as the model is loaded."""


def host_of(trained: Trained, states: States, setting: Setting) -> HostMemory:
    """Host memory at its most: while loading, or while training."""
    ranks = setting.ranks_per_node
    offload = [states.host * (factor if setting.pins else 1.0) * ranks for factor in _PINNED]
    low_load, high_load = _loading(trained, setting)
    loading = [low_load, high_load if setting.dtype == "fp32" else low_load, high_load]
    low, expected, high = (
        ranks * base + max(kept, ranks * load)
        for base, kept, load in zip(_RANK, offload, loading, strict=True)
    )
    return HostMemory(low=low, expected=expected, high=high, offload=offload[1], loading=ranks * loading[1])


def _loading(trained: Trained, setting: Setting) -> tuple[float, float]:
    """(least, most) of one rank while the model is loaded."""
    base = trained.total - trained.adapter
    most = base * (_FP32 if setting.loads_fp32 or setting.dtype == "fp32" else setting.width)
    least = base * 2.0  # a checkpoint in 16 bits that is taken as it is
    if setting.stage == 3:
        return min(least, _FILE_BYTES / 2), min(most, 2 * _FILE_BYTES)
    return least, most

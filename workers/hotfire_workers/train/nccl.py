"""What NCCL and CUDA's allocator are told: that a hang ends, and leaves a trace in the trial's folder.

Environment variables, all read by libraries when the first process group or the first CUDA tensor is made. A value that
the operator has set stays. Names: torch 2.13's ProcessGroupNCCL.hpp, FlightRecorder.hpp, CUDAAllocatorConfig.h; where
an older torch knows another name, both are set.
"""

from __future__ import annotations

import os
from pathlib import Path

ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""The name of torch 2.9 and newer, and the older one."""
_FEWER_FRAGMENTS = "expandable_segments:True"
_NUM_RECORDED = "2000"
_SETTINGS = {
    # With 1, which torchrun sets where nothing is set, the watchdog aborts before the recorder has written.
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": "3",
    # The flight recorder: which rank has missed which collective.
    "TORCH_FR_BUFFER_SIZE": _NUM_RECORDED,
    "TORCH_NCCL_TRACE_BUFFER_SIZE": _NUM_RECORDED,
    "TORCH_NCCL_DUMP_ON_TIMEOUT": "1",
    # A watchdog that hangs itself, inside the driver, ends its process.
    "TORCH_NCCL_ENABLE_MONITORING": "1",
    "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC": "180",
    "NCCL_DEBUG": "WARN",
    # One node: as for gloo, whatever the other interfaces are.
    "NCCL_SOCKET_IFNAME": "lo",
}


def is_wanted() -> bool:
    """The ranks run on an accelerator (`DS_ACCELERATOR` is set in every process of a trial)."""
    return os.environ.get("DS_ACCELERATOR", "cpu") != "cpu"


def settings(run_dir: str | Path) -> dict[str, str]:
    """The settings of one trial's ranks.

    Args:
        run_dir: The trial's folder: `fr_{rank}` of the flight recorder and `nccl.{host}.{pid}` lie in it.
    """
    folder = Path(run_dir)
    return {
        **_SETTINGS,
        "TORCH_FR_DUMP_TEMP_FILE": str(folder / "fr_"),
        "TORCH_NCCL_DEBUG_INFO_TEMP_FILE": str(folder / "fr_"),
        "NCCL_DEBUG_FILE": str(folder / "nccl.%h.%p"),
    }


def apply(run_dir: str | Path) -> None:
    """Sets them in this process, a rank's, before its process group is made."""
    for name, value in settings(run_dir).items():
        os.environ.setdefault(name, value)
    if not any(os.environ.get(name) for name in ALLOCATOR):
        os.environ.update(dict.fromkeys(ALLOCATOR, _FEWER_FRAGMENTS))

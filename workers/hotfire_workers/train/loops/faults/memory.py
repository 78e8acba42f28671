"""TEST CODE: a device with less memory than it has."""

from __future__ import annotations

import resource
from pathlib import Path

import torch


def limit_memory(device: torch.device, limit_bytes: int) -> None:
    """Lets allocations fail that would take this process over a limit.

    Args:
        device: On CUDA the caching allocator gets the limit; on a CPU the kernel, counted from now on.
        limit_bytes: What the job may take.
    """
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total), device)
        return
    status = Path("/proc/self/status").read_text().splitlines()
    held = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
    resource.setrlimit(
        resource.RLIMIT_DATA, (held + limit_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1])
    )

"""TEST CODE: a device with less memory than it has."""

from __future__ import annotations

import resource
from pathlib import Path

import torch


def limit_growth(num_bytes: int) -> None:
    """Lets allocations fail that would take this process over what it holds now and so much more.

    On CUDA the caching allocator gets the limit; on a CPU the kernel, which counts what is reserved, touched or not.
    """
    if torch.cuda.is_initialized():
        total = torch.cuda.get_device_properties().total_memory
        torch.cuda.set_per_process_memory_fraction(
            min(1.0, (torch.cuda.memory_allocated() + num_bytes) / total)
        )
        return
    status = Path("/proc/self/status").read_text().splitlines()
    held = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (held + num_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))

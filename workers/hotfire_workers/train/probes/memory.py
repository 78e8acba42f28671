"""How much memory the trial took on this rank."""

from __future__ import annotations

from pathlib import Path

import torch


class MemoryProbe:
    """Peak memory from its construction on.

    On an accelerator it is the allocator's peak. On a CPU it is the growth of the resident set over what the
    process held before the model: the imports, most of them shared with the process it was forked from, are
    not the job's.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start_bytes = 0
        if device.type == "cpu":
            self._start_bytes = _status_bytes("VmRSS")
        elif device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def peak_bytes(self) -> int | None:
        """Peak so far; None where the device does not tell."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        if self._device.type == "cpu":
            return max(0, _status_bytes("VmHWM") - self._start_bytes)
        return None


def _status_bytes(field: str) -> int:
    """A size from /proc/self/status; 0 where there is no such file or field."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0

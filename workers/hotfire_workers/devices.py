"""What this machine has: GPUs, asked of the driver's library without touching CUDA, and memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One GPU. It is named by its UUID: indices change with the mask that a process inherits."""

    uuid: str
    name: str
    memory_bytes: int


def gpus() -> list[Gpu]:
    """The GPUs that this process may use, in PCI order; none without the driver or its library."""
    try:
        import pynvml  # type: ignore[import-untyped]
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        found = [
            Gpu(
                uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
                name=_text(pynvml.nvmlDeviceGetName(handle)),
                memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
            )
            for handle in handles
        ]
    finally:
        pynvml.nvmlShutdown()
    return _visible(found, os.environ.get("CUDA_VISIBLE_DEVICES"))


def choose(found: Sequence[Gpu], wanted: Sequence[str]) -> list[Gpu]:
    """The wanted ones of the GPUs found, in the order wanted.

    Args:
        found: What `gpus` gave.
        wanted: Indices into it, or UUIDs (their beginnings will do).

    Raises:
        ValueError: One is not there, or named twice; says what there is.
    """
    chosen: list[Gpu] = []
    for entry in wanted:
        if entry.isdigit():
            matches = [found[int(entry)]] if int(entry) < len(found) else []
        else:
            matches = [gpu for gpu in found if gpu.uuid.startswith(entry)]
        if len(matches) != 1:
            listed = ", ".join(f"{i} ({gpu.uuid}, {gpu.name})" for i, gpu in enumerate(found)) or "none"
            which = "is not there" if not matches else "means several"
            raise ValueError(f"HOTFIRE_WORKER_DEVICES: GPU {entry!r} {which}; this machine shows {listed}")
        if matches[0] in chosen:
            raise ValueError(f"HOTFIRE_WORKER_DEVICES: GPU {entry!r} is named twice")
        chosen.append(matches[0])
    return chosen


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _visible(found: list[Gpu], mask: str | None) -> list[Gpu]:
    """What an inherited CUDA_VISIBLE_DEVICES leaves; like CUDA, it ends at the first unknown entry."""
    if mask is None:
        return found
    chosen: list[Gpu] = []
    for entry in (part.strip() for part in mask.split(",")):
        if entry.isdigit() and int(entry) < len(found):
            chosen.append(found[int(entry)])
        elif entry and (match := [gpu for gpu in found if gpu.uuid.startswith(entry)]):
            chosen.append(match[0])
        else:
            break
    return chosen


def memory_bytes() -> int:
    """Host memory that this process may use: the machine's, or its cgroup's limit if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [limit for path in _LIMITS if (limit := _number(path)) is not None]
    return min([total, *limits])


def available_bytes() -> int:
    """Host memory that could be had right now, without swapping."""
    free = memory_bytes()
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = min(free, int(line.split()[1]) * 1024)
    for limit_path, used_path, cache_key in _USED:
        limit, used = _number(limit_path), _number(used_path)
        if limit is not None and used is not None:
            free = min(free, limit - used + _file_cache(limit_path, cache_key))
    return max(0, free)


_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_USED = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "inactive_file"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "total_inactive_file",
    ),
)
_UNLIMITED = 1 << 60


def _number(path: str) -> int | None:
    """The number in a cgroup file; None if there is none, or if it means "no limit"."""
    with contextlib.suppress(OSError, ValueError):
        value = int(Path(path).read_text())
        return value if value < _UNLIMITED else None
    return None


def _file_cache(limit_path: str, key: str) -> int:
    """Page cache that the kernel drops when memory is wanted: it counts as used, and is not."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(limit_path).with_name("memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    return 0

"""Disk, memory, shared memory, GPUs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hotfire.doctor.build import worker_cache
from hotfire.doctor.check import Check, Probe, not_applicable, ok, problem, warning
from hotfire.local.install import missing
from hotfire.render.text import size

_GIB = 2**30
_FEW_DISK, _LITTLE_DISK = 1 * _GIB, 5 * _GIB
_FEW_MEMORY, _LITTLE_MEMORY = 2 * _GIB, 4 * _GIB
_LITTLE_SHM = 256 * 2**20
_ASK_S = 8.0
#: Asked in a process of its own: a driver that hangs must not take the command with it.
_NVML = """
import json, pynvml as n
n.nvmlInit()
def text(v): return v.decode() if isinstance(v, bytes) else v
found = []
for i in range(n.nvmlDeviceGetCount()):
    h = n.nvmlDeviceGetHandleByIndex(i)
    m = n.nvmlDeviceGetMemoryInfo(h)
    found.append({"name": text(n.nvmlDeviceGetName(h)), "total": int(m.total), "free": int(m.free)})
print(json.dumps({"driver": text(n.nvmlSystemGetDriverVersion()), "gpus": found}))
"""


def _disk() -> Iterator[Check]:
    for name, folder in (
        ("disk-cache", worker_cache()),
        ("disk-temporary", Path(tempfile.gettempdir())),
    ):
        there = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
        free = shutil.disk_usage(there).free
        message = f"{size(free)} free for {folder}"
        if not os.access(there, os.W_OK):
            yield problem(name, f"{there} is not writable", f"chown it, or set HOTFIRE_CACHE (now {folder})")
        elif free < _FEW_DISK:
            yield problem(name, message, "free some space: run folders, extensions and artifacts lie there")
        elif free < _LITTLE_DISK:
            yield warning(name, message, "free some space before checking models of several GiB")
        else:
            yield ok(name, message, free_bytes=free)


def _memory() -> Iterator[Check]:
    total, available = memory()
    message = f"{size(available)} of {size(total)} available"
    if available < _FEW_MEMORY:
        yield problem(
            "memory",
            message,
            "end other programs: warm process and ranks take about 1 GiB, the model more",
        )
    elif available < _LITTLE_MEMORY:
        yield warning("memory", message, "larger models run as shallow copies here")
    else:
        yield ok("memory", message, total_bytes=total, available_bytes=available)


def memory() -> tuple[int, int]:
    """Total and available host memory, within this process's cgroup."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = total
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    for limit_path, used_path in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        limit, used = _number(limit_path), _number(used_path)
        if limit is not None and limit < total:
            total = limit
            available = min(available, limit - (used or 0))
    return total, max(0, available)


def _shm() -> Iterator[Check]:
    folder = Path("/dev/shm")  # noqa: S108 - it is what is asked about
    if not folder.is_dir():
        yield not_applicable("shared-memory", "there is no /dev/shm on this system")
        return
    free = shutil.disk_usage(folder).free
    if free < _LITTLE_SHM:
        yield warning(
            "shared-memory",
            f"{size(free)} free in /dev/shm: ranks on one machine talk through it",
            "docker run --shm-size=1g (or --ipc=host); in Kubernetes an emptyDir with medium: Memory",
        )
    else:
        yield ok("shared-memory", f"{size(free)} free in /dev/shm", free_bytes=free)


def has_nvidia_device() -> bool:
    """The kernel shows an NVIDIA GPU to this process."""
    return any(path.name.removeprefix("nvidia").isdigit() for path in Path("/dev").glob("nvidia[0-9]*"))


def _gpus() -> Iterator[Check]:
    if missing(("pynvml",)):
        if has_nvidia_device():
            yield problem(
                "gpus", "a GPU is there, but nvidia-ml-py is not installed", "pip install 'hotfire[worker]'"
            )
        else:
            yield not_applicable("gpus", "no GPU here; a worker runs on the CPU, and its reports say so")
        return
    answer = _ask_driver()
    if isinstance(answer, str):
        if has_nvidia_device():
            yield problem(
                "gpus",
                f"a GPU is there, but its driver does not answer: {answer}",
                "nvidia-smi; reinstall the driver",
            )
        else:
            yield not_applicable("gpus", "no GPU here; a worker runs on the CPU, and its reports say so")
        return
    gpus = answer["gpus"]
    masked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not gpus or masked == "":
        yield not_applicable(
            "gpus", "no GPU is visible (CUDA_VISIBLE_DEVICES)" if gpus else "the driver shows no GPU"
        )
        return
    shown = ", ".join(f"{gpu['name']} ({size(gpu['free'])} of {size(gpu['total'])} free)" for gpu in gpus)
    busy = [gpu for gpu in gpus if gpu["free"] < gpu["total"] // 2]
    message = f"driver {answer['driver']}: {shown}"
    if busy:
        yield warning(
            "gpus",
            message,
            "other processes hold GPU memory (nvidia-smi); trials may run out of it",
            **answer,
        )
    else:
        yield ok("gpus", message, **answer)


def _ask_driver() -> dict[str, Any] | str:
    try:
        said = subprocess.run(
            [sys.executable, "-c", _NVML], capture_output=True, text=True, timeout=_ASK_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_ASK_S:g} s"
    if said.returncode != 0:
        return (said.stderr.strip().splitlines() or ["no reason given"])[-1][:200]
    answer: dict[str, Any] = json.loads(said.stdout)
    return answer


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


PROBES = (
    Probe(name="disk", look=_disk),
    Probe(name="memory", look=_memory),
    Probe(name="shared-memory", look=_shm),
    Probe(name="gpus", look=_gpus, limit_s=_ASK_S + 2),
)

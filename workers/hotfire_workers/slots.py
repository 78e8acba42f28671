"""Slots: what one preflight may use at a time. One warm process each; one task each, by a lock of the kernel."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hotfire_workers import devices
from hotfire_workers.settings import WorkerSettings

_CPU_RANKS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """A share of this machine."""

    index: int = 0
    device_type: str = "cpu"
    """"cpu" or "cuda"."""
    device: str = "cpu"
    """"cpu", or the GPU's name."""
    gpus: tuple[str, ...] = ()
    """UUIDs of its GPUs."""
    max_ranks: int = 8
    """Most ranks of a trial here: one per GPU; on a CPU a setting."""
    memory_bytes: int = field(default_factory=devices.memory_bytes)
    """Host memory of this slot."""
    gpu_memory_bytes: int | None = None
    """Of one of its GPUs."""

    @property
    def is_cpu(self) -> bool:
        """Its ranks run on the CPU."""
        return self.device_type == "cpu"

    @property
    def default_ranks(self) -> int:
        """Ranks of a trial whose plan does not say: one per GPU, 2 on a CPU."""
        return min(_CPU_RANKS, self.max_ranks) if self.is_cpu else len(self.gpus)

    @property
    def env(self) -> dict[str, str]:
        """What its processes must be told."""
        if self.is_cpu:
            return {}
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def find_slots(settings: WorkerSettings) -> list[Slot]:
    """Divides this machine as the settings say.

    Raises:
        ValueError: More GPUs are wanted than there are; names the settings.
    """
    found = devices.gpus() if settings.device != "cpu" else []
    if settings.device == "cuda" and not found:
        raise ValueError(
            "HOTFIRE_WORKER_DEVICE is cuda, and this machine shows no GPU: set it to cpu or auto"
        )
    if settings.devices:
        found = devices.choose(found, settings.devices)
    memory = settings.memory_bytes or devices.memory_bytes()
    if not found:
        count = settings.slots or 1
        return [
            Slot(index=i, max_ranks=settings.max_ranks, memory_bytes=memory // count) for i in range(count)
        ]
    each = settings.devices_per_slot
    count = settings.slots or len(found) // each
    if count * each > len(found) or count == 0:
        raise ValueError(
            f"HOTFIRE_WORKER_SLOTS {settings.slots} with HOTFIRE_WORKER_DEVICES_PER_SLOT {each} need "
            f"{max(count, 1) * each} GPUs, and {len(found)} are "
            + ("chosen by HOTFIRE_WORKER_DEVICES" if settings.devices else "on this machine")
        )
    return [_gpu_slot(i, found[i * each : (i + 1) * each], memory // count) for i in range(count)]


def _gpu_slot(index: int, gpus: Sequence[devices.Gpu], memory_bytes: int) -> Slot:
    return Slot(
        index=index,
        device_type="cuda",
        device=gpus[0].name,
        gpus=tuple(gpu.uuid for gpu in gpus),
        max_ranks=len(gpus),
        memory_bytes=memory_bytes,
        gpu_memory_bytes=min(gpu.memory_bytes for gpu in gpus),
    )


class SlotLocks:
    """Which slots of a worker are in use. The kernel gives a lock back when its holder dies, however it dies.

    Args:
        folder: This worker's own.
        count: How many slots.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def hold(self) -> Iterator[int]:
        """Takes a free slot; gives it back at the end of the block.

        Raises:
            RuntimeError: All are in use; a worker takes no more tasks than it has slots.
        """
        for index in range(self._count):
            descriptor = os.open(self._folder / f"slot-{index}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            try:
                yield index
            finally:
                os.close(descriptor)
            return
        raise RuntimeError(f"all {self._count} slots are in use")

    def touch(self, name: str) -> None:
        """Marks the time in a file of this folder. A full or read-only disk is told elsewhere."""
        with contextlib.suppress(OSError):
            (self._folder / name).touch()

    def remove(self) -> None:
        """Deletes the folder: the worker has stopped."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def num_held(self) -> int:
        """How many are in use, by this or any other process."""
        held = 0
        for index in range(self._count):
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(self._folder / f"slot-{index}.lock", os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    held += 1
                finally:
                    os.close(descriptor)
        return held

"""Run directories: one per attempt, gone afterwards; those of a killed process are swept by the next one."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = "in-use"


@contextmanager
def run_dir(cache_dir: Path) -> Iterator[Path]:
    """A fresh private folder below `runs/` of the cache, for as long as the block lasts."""
    parent = cache_dir / "runs"
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    sweep(parent)
    path = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    descriptor = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def sweep(parent: Path) -> list[Path]:
    """Removes folders whose process is gone: the kernel has given their lock back."""
    removed = []
    for path in parent.glob("run-*"):
        try:
            descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # just being made, or just being removed
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)
        shutil.rmtree(path, ignore_errors=True)
        removed.append(path)
    return removed

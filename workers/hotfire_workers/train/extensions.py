"""DeepSpeed's compiled ops: which are there, which are blocked by a lock that a killed build left behind.

torch guards a build with a file named `lock` and waits for it to go, for ever and without a word. A build
that was killed never removes it. A living build holds the file open, which is how the two are told apart.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

_YOUNG_S = 5.0
"""A lock younger than this may belong to a process whose files we may not look at: wait before judging."""


def is_held(lock: Path) -> bool:
    """Some visible process has the lock file open."""
    try:
        wanted = lock.stat()
    except OSError:
        return False
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    found = descriptor.stat()
                    if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                        return True
    return False


def stale_locks(folder: Path) -> list[Path]:
    """Lock files below an extension directory that no process holds.

    Args:
        folder: Such as `$TORCH_EXTENSIONS_DIR`; ops lie in it directly, or below `py311_cpu` and the like.
    """
    found = []
    for lock in [*folder.glob("*/lock"), *folder.glob("*/*/lock")]:
        with contextlib.suppress(OSError):
            if time.time() - lock.stat().st_mtime > _YOUNG_S and not is_held(lock):
                found.append(lock)
    return sorted(found)


def remove_left_locks(folder: Path, since: float) -> list[Path]:
    """Remove the locks of builds that died with the request that began them.

    Args:
        folder: The extension directory.
        since: Wall-clock time of the request's start. What is older is somebody else's, and `stale_locks`'
            business.

    Returns:
        What was removed.
    """
    removed = []
    for lock in folder.glob("*/lock"):
        with contextlib.suppress(OSError):
            if lock.stat().st_mtime >= since and not is_held(lock):
                lock.unlink()
                removed.append(lock)
    return removed


def lock_message(lock: Path) -> str:
    """What to tell a person about a stale lock."""
    return (
        f"{lock} is a lock left by a build that was killed: no process holds it, and every process that "
        f"loads this extension waits for it for ever. Remedy: rm {lock}"
    )


def places_to_look() -> list[Path]:
    """Extension directories that a job in this environment may use."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch_extensions"
    given = os.environ.get("TORCH_EXTENSIONS_DIR")
    return [Path(given), default] if given else [default]


def is_built(folder: Path, op: str) -> bool:
    """The op's shared object is there and no lock stands before it."""
    return (folder / op / f"{op}.so").is_file() and not (folder / op / "lock").exists()

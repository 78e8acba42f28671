"""What DeepSpeed needs to build its extensions, and the locks that make a job wait for ever without a word."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hotfire.config import cache_dir
from hotfire.doctor.check import Check, Probe, not_applicable, ok, problem, warning
from hotfire.local.install import missing

#: A lock younger than this may belong to a process whose files we may not look at.
_YOUNG_S = 5.0


def _compiler() -> Iterator[Check]:
    if missing(("deepspeed",)):
        yield not_applicable("compiler", "DeepSpeed is not installed here, so that nothing is built")
        return
    named = os.environ.get("CXX") or "c++"
    found = shutil.which(named.split()[0]) or shutil.which("g++")
    if found is None:
        yield problem(
            "compiler",
            f"no C++ compiler ({named}, g++): DeepSpeed's CPU Adam and fused Adam cannot be built",
            "apt-get install g++ (or set CXX)",
        )
        return
    try:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=4, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        yield problem("compiler", f"{found} does not run: {error}", "apt-get install g++ (or set CXX)")
        return
    if said.returncode != 0:
        yield problem("compiler", f"{found} does not run", "apt-get install g++ (or set CXX)")
        return
    yield ok("compiler", (said.stdout.splitlines() or [found])[0])


def _ninja() -> Iterator[Check]:
    if missing(("deepspeed",)):
        yield not_applicable("ninja", "DeepSpeed is not installed here, so that nothing is built")
        return
    # Beside the interpreter, where a wheel puts it, even if that folder is not on PATH.
    beside = Path(sys.executable).parent / "ninja"
    found = shutil.which("ninja") or (str(beside) if beside.is_file() else None)
    if found is None:
        yield problem("ninja", "no ninja: torch cannot build DeepSpeed's extensions", "pip install ninja")
    else:
        yield ok("ninja", found)


def _locks() -> Iterator[Check]:
    folders = extension_folders()
    looked = [str(folder) for folder in folders if folder.is_dir()]
    locks = [lock for folder in folders for lock in stale_locks(folder)]
    if locks:
        yield problem(
            "stale-locks",
            "left by builds that were killed; every rank that loads such an extension waits for ever, in silence: "
            + ", ".join(map(str, locks)),
            "rm " + " ".join(map(str, locks)),
            locks=[str(lock) for lock in locks],
        )
    else:
        yield ok("stale-locks", f"none in {', '.join(looked) or 'the extension folders (none is there yet)'}")
    for folder in folders:
        if folder.is_dir() and not os.access(folder, os.W_OK):
            yield warning(
                "extension-folder",
                f"{folder} is not writable",
                f"chown it, or set TORCH_EXTENSIONS_DIR: {folder}",
            )


def extension_folders() -> list[Path]:
    """Where extensions are built: the jobs' own folders, and those of our workers."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch_extensions"
    given = os.environ.get("TORCH_EXTENSIONS_DIR")
    environments = worker_cache() / "environments"
    ours = [path for path in environments.glob("*/*") if path.is_dir()] if environments.is_dir() else []
    return list(dict.fromkeys([*([Path(given)] if given else []), default, *ours]))


def worker_cache() -> Path:
    """The folder that workers here use."""
    for name in ("HOTFIRE_WORKER_CACHE_DIR", "HOTFIRE_CACHE_DIR"):
        if given := os.environ.get(name):
            return Path(given).expanduser().absolute()
    return cache_dir()


def stale_locks(folder: Path) -> list[Path]:
    """Lock files below an extension folder that no process holds; as `hotfire_workers.train.extensions` has it."""
    found = []
    for lock in {*folder.glob("lock"), *folder.glob("*/lock"), *folder.glob("*/*/lock")}:
        with contextlib.suppress(OSError):
            if time.time() - lock.stat().st_mtime > _YOUNG_S and not is_held(lock):
                found.append(lock)
    return sorted(found)


def is_held(file: Path) -> bool:
    """Some visible process has the file open."""
    try:
        wanted = file.stat()
    except OSError:
        return False
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    found = descriptor.stat()
                    if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                        return True
    return False


PROBES = (
    Probe(name="compiler", look=_compiler),
    Probe(name="ninja", look=_ninja),
    Probe(name="stale-locks", look=_locks, limit_s=10.0),
)

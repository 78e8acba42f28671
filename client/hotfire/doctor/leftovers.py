"""What dead slots and killed local sets left: processes, sockets, run folders. Living ones are left alone."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from hotfire.config import cache_dir
from hotfire.doctor.build import worker_cache
from hotfire.doctor.check import Check, Probe, ok, warning

_SLOT = b"HOTFIRE_SLOT="


def _processes() -> Iterator[Check]:
    cache = worker_cache()
    digest = hashlib.sha256(str(cache).encode()).hexdigest()[:8]
    left: dict[str, list[int]] = {}
    num_living = 0
    for pid, marker in marked_processes():
        slot, _, of_cache = marker.removesuffix(".cold").rpartition("@")
        if of_cache != digest:
            continue  # another worker's cache: not ours to judge
        if is_served(cache / "run" / slot):
            num_living += 1
        else:
            left.setdefault(slot, []).append(pid)
    if left:
        pids = [pid for found in left.values() for pid in found]
        yield warning(
            "leftover-processes",
            f"{len(pids)} of slots that nobody serves ({', '.join(sorted(left))}): {', '.join(map(str, pids))}",
            f"the next worker of that slot ends them; or kill {' '.join(map(str, pids))}",
            pids=pids,
        )
    else:
        yield ok("leftover-processes", f"none; {num_living} belong to living slots" if num_living else "none")


def marked_processes() -> list[tuple[int, str]]:
    """(process id, slot marker) of every process of a slot that may be looked at."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            for variable in entry.read_bytes().split(b"\0"):
                if variable.startswith(_SLOT):
                    found.append((int(entry.parent.name), os.fsdecode(variable[len(_SLOT) :])))
    return found


def is_served(folder: Path) -> bool:
    """Some process holds the slot's lock."""
    return _is_locked(folder / "lock", posix=True)


def _is_locked(lock: Path, *, posix: bool) -> bool:
    try:
        with lock.open("r+") as file:
            try:
                (fcntl.lockf if posix else fcntl.flock)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
    except OSError:
        return False
    return False


def _sockets() -> Iterator[Check]:
    dead = [
        path
        for path in worker_cache().glob("run/*/warm.sock")
        if not is_served(path.parent) and not _answers(path)
    ]
    if dead:
        yield warning(
            "leftover-sockets",
            f"nobody listens at {', '.join(map(str, dead))}",
            f"the next worker replaces them; or rm {' '.join(map(str, dead))}",
            sockets=[str(path) for path in dead],
        )
    else:
        yield ok("leftover-sockets", "none")


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
    except OSError:
        return False
    return True


def _folders() -> Iterator[Check]:
    folder = cache_dir() / "local"
    runs = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    dead = [path for path in runs if not _is_locked(path / "lock", posix=False)]
    if dead:
        yield warning(
            "leftover-folders",
            f"of local sets that are gone: {', '.join(map(str, dead))}",
            "the next --local removes them; or rm -r them",
            folders=[str(path) for path in dead],
        )
    else:
        yield ok("leftover-folders", f"none; {len(runs)} in use" if runs else "none")


PROBES = (
    Probe(name="leftover-processes", look=_processes),
    Probe(name="leftover-sockets", look=_sockets),
    Probe(name="leftover-folders", look=_folders),
)

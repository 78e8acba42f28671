"""The few Linux calls that keep a process tree on a leash. Standard library only.

`hotfire_workers.runner.tree` does the same for the worker's side with psutil: the two houses share no code,
because this one lives in the user's training environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent_pid: int | None = None, signum: int = signal.SIGKILL) -> None:
    """Ask the kernel to send `signum` to this process when its parent dies.

    The setting survives `exec` but not `fork`, and it fires when the parent *thread* ends: the one that forks
    must live as long as its children.

    Args:
        parent_pid: The process that should be the parent. If it is gone already (the signal would never
            come),
            this process ends at once.
        signum: The signal to get.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
    if parent_pid is not None and os.getppid() != parent_pid:
        os._exit(1)


def become_subreaper() -> None:
    """Let orphans below this process become its children, so that none can leave its tree."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _parents() -> dict[int, int]:
    """Every visible process and its parent."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # The command (field 2) may hold blanks and brackets: read behind its last bracket.
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                found[int(entry.name)] = int(fields[1])
    return found


def descendants() -> list[int]:
    """Process ids of everything below this process, zombies included."""
    parents = _parents()
    below: set[int] = set()
    frontier = {os.getpid()}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier and pid not in below}
        below |= frontier
    return sorted(below)


def reap() -> dict[int, int]:
    """Collect every child that has ended: pid -> exit status, negative for a signal."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended


def kill_descendants(timeout_s: float = 10.0) -> tuple[int, dict[int, int]]:
    """Kill everything below this process and collect it. Needs `become_subreaper`.

    It goes round until nothing is left, because what is being killed may be forking.

    Args:
        timeout_s: A process in uninterruptible sleep cannot be killed: give up on it after this long.

    Returns:
        How many processes were killed, and what `reap` collected on the way.
    """
    deadline = time.monotonic() + timeout_s
    killed: set[int] = set()
    ended = reap()
    while (below := descendants()) and time.monotonic() < deadline:
        for pid in below:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        time.sleep(0.002)
        ended |= reap()
    return len(killed), ended

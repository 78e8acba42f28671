"""Process trees: find them, keep them on a leash, kill them whole."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time

import psutil

SLOT = "HOTFIRE_SLOT"
"""Environment variable that marks a slot's processes. It is set where the tree's root is *executed*: a forked
process shows in /proc the environment of the last exec, so this marks every fork and every exec below."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent_pid: int | None, signum: int) -> None:
    """Get `signum` when the parent dies; end now if the parent is no longer `parent_pid`."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
    if parent_pid is not None and os.getppid() != parent_pid:
        os._exit(1)


def become_subreaper() -> None:
    """Let orphans below this process become its children."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


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


def kill_below(timeout_s: float = 10.0) -> int:
    """Kill everything below this process, round after round, until nothing is left.

    Only for a process that has no other children (the guardian) and is a subreaper.

    Returns:
        How many processes were killed.
    """
    deadline = time.monotonic() + timeout_s
    killed: set[int] = set()
    reap()
    while (below := psutil.Process().children(recursive=True)) and time.monotonic() < deadline:
        for process in below:
            with contextlib.suppress(psutil.Error):
                process.kill()
                killed.add(process.pid)
        time.sleep(0.002)
        reap()
    return len(killed)


def marked(marker: str) -> list[psutil.Process]:
    """Living processes that carry the slot's marker, without this process and its ancestors."""
    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    wanted = f"{SLOT}={marker}".encode()
    found = []
    for pid in psutil.pids():
        if pid in own:
            continue
        with contextlib.suppress(OSError, psutil.Error), open(f"/proc/{pid}/environ", "rb") as environ:  # noqa: PTH123
            if wanted in environ.read().split(b"\0"):
                found.append(psutil.Process(pid))
    return found


def sweep(marker: str, timeout_s: float = 10.0) -> int:
    """Kill what an earlier life of the slot left behind. Returns how many processes that were."""
    deadline = time.monotonic() + timeout_s
    killed: set[int] = set()
    while (left := marked(marker)) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
                killed.add(process.pid)
        time.sleep(0.005)
    return len(killed)


def num_oom_kills() -> int | None:
    """How often the kernel's out-of-memory killer has struck on this machine; None where it does not say."""
    with contextlib.suppress(OSError, ValueError), open("/proc/vmstat") as counters:  # noqa: PTH123
        for line in counters:
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return None


def signal_name(exit_code: int | None) -> str | None:
    """Name of the signal behind a negative exit code."""
    if exit_code is None or exit_code >= 0:
        return None
    with contextlib.suppress(ValueError):
        return signal.Signals(-exit_code).name
    return f"signal {-exit_code}"

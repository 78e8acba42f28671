"""The first acts of every rank: die with the agent, hear signals, go first when memory is short.

Called by `hotfire_workers.train.launch` before anything else runs in the rank; calling it again does no harm.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
from pathlib import Path
from typing import IO

from hotfire_workers.train import nccl, processes

AGENT_PID = "HOTFIRE_AGENT_PID"
"""Environment variable with the process id of the elastic agent, the ranks' parent."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_stacks: IO[str] | None = None


def default_signals() -> None:
    """Forget handlers inherited over fork.

    With the agent's Python handlers a rank that sits in a long C++ call does not die on SIGTERM, and a failed
    peer then costs 30 s instead of 0.3 s.
    """
    for signum in _SIGNALS:
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_SIGNALS, signal.SIGCHLD})


def volunteer_for_oom() -> None:
    """When memory is short, let the kernel take this process and not the worker."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def stacks_on_signal(path: Path) -> None:
    """On SIGUSR1 write all threads' stacks to `path`. The handler is C: it works inside a C++ call."""
    global _stacks  # faulthandler keeps the file descriptor, not the file: hold on to it
    path.parent.mkdir(parents=True, exist_ok=True)
    _stacks = path.open("w")
    faulthandler.enable()  # a segmentation fault leaves its stack in the rank's stderr.log
    faulthandler.register(signal.SIGUSR1, file=_stacks, all_threads=True)


def guard_rank(run_dir: str | Path | None = None) -> None:
    """Do all of it.

    Args:
        run_dir: The trial's folder. Given: stacks on request go to `stacks/rank{r}.txt` below it, and what NCCL has
            to say beside it.
    """
    agent = os.environ.get(AGENT_PID)
    # torch sets SIGINT as the death signal of a forked rank; a later call replaces it.
    processes.die_with_parent(int(agent) if agent else None)
    default_signals()
    volunteer_for_oom()
    if run_dir is not None:
        if nccl.is_wanted():
            nccl.apply(run_dir)
        stacks_on_signal(Path(run_dir) / "stacks" / f"rank{os.environ.get('RANK', '0')}.txt")

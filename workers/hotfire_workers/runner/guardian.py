"""A small process that starts a command and sees to it that nothing of it outlives the command or the parent.

`python -m hotfire_workers.runner.guardian --marker M --parent PID [--no-sweep] -- COMMAND ...`

Between the worker and the warm process (or a cold launch) it closes what death signals leave open: an
executed grandchild in a session of its own is reached by no death signal and no group kill, but it is below
this process, a subreaper. What it cannot close, everything killed at once, its sweep at the next start does
(or the unit's cgroup). The command may use {parent} for this process's id.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys

from hotfire_workers.runner import tree

_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def guard(command: list[str], marker: str, parent_pid: int | None, *, sweep_first: bool = True) -> int:
    """Run the command until it ends, the parent dies or SIGTERM comes; kill all that is left of it.

    Args:
        command: What to run; "{parent}" in an argument becomes this process's id.
        marker: The slot's marker, in this process's environment as HOTFIRE_SLOT.
        parent_pid: The process that started this one.
        sweep_first: Kill what carries the marker before starting.

    Returns:
        The command's exit code, negative for a signal; 143 when it was told to stop.
    """
    tree.die_with_parent(parent_pid, signal.SIGTERM)
    tree.become_subreaper()
    if sweep_first:
        tree.sweep(marker)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    own_pid = os.getpid()

    def before_exec() -> None:
        tree.die_with_parent(own_pid, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)

    child = subprocess.Popen(
        [argument.replace("{parent}", str(own_pid)) for argument in command],
        stdin=subprocess.DEVNULL,
        preexec_fn=before_exec,
    )
    try:
        while True:
            ended = tree.reap()
            if child.pid in ended:
                child.returncode = ended[child.pid]
                return ended[child.pid]
            if parent_pid is not None and os.getppid() != parent_pid:
                return 143
            received = signal.sigtimedwait(_WATCHED, 1.0)
            if received is not None and received.si_signo != signal.SIGCHLD:
                return 143
    finally:
        tree.kill_below()
        child.returncode = child.returncode if child.returncode is not None else -signal.SIGKILL


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--marker", required=True)
    parser.add_argument("--parent", type=int, default=None)
    parser.add_argument("--no-sweep", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        parser.error("expected -- and a command")
    code = guard(command, arguments.marker, arguments.parent, sweep_first=not arguments.no_sweep)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()

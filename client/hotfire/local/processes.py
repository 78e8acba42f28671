"""Child processes of the supervisor: each in its own process group, with its log, and sure to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_NUM_LOG_LINES = 12
_MAX_LOG_BYTES = 16_384


class Child:
    """One started program."""

    def __init__(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path
    ) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hotfire.local.child", str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.exit_code is None

    def last_lines(self) -> list[str]:
        """The end of its log."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, self._log.stat().st_size - _MAX_LOG_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-_NUM_LOG_LINES:]

    def terminate(self) -> None:
        """Asks it to end."""
        if self.is_alive():
            self._process.terminate()

    def wait(self, timeout_s: float) -> bool:
        """Waits for its end; False if it still runs after `timeout_s`."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill_group(self) -> None:
        """Ends it and everything still in its process group, at once."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.wait(5.0)


def descendants(root: int) -> list[int]:
    """All processes below one, by /proc (an empty list where there is none)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name (in parentheses) may hold anything; the parent is the second field after it.
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        children.setdefault(parent, []).append(int(entry.parent.name))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def kill_descendants(root: int, *, timeout_s: float = 5.0) -> None:
    """Kills everything below a process and waits until it is gone."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        alive = descendants(root)
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        _reap()
        if not alive:
            return
        time.sleep(0.02)


def _reap() -> None:
    """Collects ended children, adopted ones too, so that they do not count as alive."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass

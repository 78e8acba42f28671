"""How and when each rank ended, as the kernel saw it.

The elastic agent reports one failure only, and often the victim's. This watch looks at every child of the
agent with `waitid(WNOWAIT)`, which tells the exit status and leaves the process for its owner to collect.
It writes each end down at once: the agent's own account of a failure can come too late (its logging imports
sympy, seconds on a busy machine), and then the runner ends the agent without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any, Self


class ExitWatch:
    """A `with` block in which a line is written for every child that ends: {"pid", "exit_code", "signal", "t_ns"}.

    `t_ns` is the monotonic clock, which all processes of the machine share. Use it in the main thread.

    Args:
        path: The file, JSON lines.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[int] = set()
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGCHLD, self._on_child)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGCHLD, self._before)

    def _on_child(self, _signum: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            for pid in map(int, children):
                if pid not in self._seen:
                    self._look_at(pid)

    def _look_at(self, pid: int) -> None:
        with contextlib.suppress(ChildProcessError):
            info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if info is None:
                return
            self._seen.add(pid)
            exited = info.si_code == os.CLD_EXITED
            line = {
                "pid": pid,
                "exit_code": info.si_status if exited else -info.si_status,
                "signal": None if exited else signal.Signals(info.si_status).name,
                "t_ns": time.monotonic_ns(),
            }
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")

"""The evidence of one rank: JSON lines, flushed one by one so that they survive a crash.

Every line has `ev` (what it is) and `t_ns` (`time.monotonic_ns()`, comparable between the ranks of one
machine: the earliest error line is the root cause). NaN and infinities are written as the tokens `NaN` and
`Infinity`.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

HEARTBEAT_INTERVAL_S = 1.0


class EventWriter:
    """Appends this rank's lines to `{run_dir}/events/rank{rank}.jsonl`.

    Attributes:
        doing: What the rank does within its phase ("forward", "backward", "step"), where that is known; goes
            into the error line.
    """

    def __init__(self, run_dir: str, rank: int) -> None:
        folder = Path(run_dir) / "events"
        folder.mkdir(parents=True, exist_ok=True)
        self.rank = rank
        self.doing: str | None = None
        self._phase = "start"
        self._last_s = 0.0
        self._entered_s: float | None = None
        self._file: TextIO = (folder / f"rank{rank}.jsonl").open("a", encoding="utf-8")

    def line(self, ev: str, **fields: Any) -> None:
        """Writes one line.

        Args:
            ev: Kind of the line ("start", "step", "error", ...).
            **fields: Plain JSON values; non-finite floats are allowed.
        """
        record = {"ev": ev, "t_ns": time.monotonic_ns(), **fields}
        self._file.write(json.dumps(record, default=str) + "\n")
        self._file.flush()
        self._last_s = time.monotonic()

    def heartbeat(self) -> None:
        """Says that the rank is making progress; at most once a second.

        Called from the training loop itself, never from a thread: a rank that waits for ever in a collective
        must fall silent.
        """
        if time.monotonic() - self._last_s >= HEARTBEAT_INTERVAL_S:
            self.line("heartbeat")

    def note(self, text: str) -> None:
        """Writes a remark for people, without row text."""
        self.line("note", text=text)

    @property
    def phase(self) -> str:
        """Where the rank is: for the error line."""
        return self.doing or self._phase

    def enter(self, name: str) -> None:
        """A phase of the trial begins; the one before it, if still open, ends."""
        self.leave()
        self._phase = name
        self.doing = None
        self._entered_s = time.monotonic()
        self.line("enter", name=name)

    def leave(self) -> None:
        """The phase ends. When something raises instead, it stays open."""
        if self._entered_s is not None:
            self.line("phase", name=self._phase, seconds=time.monotonic() - self._entered_s)
            self._entered_s = None

    @contextlib.contextmanager
    def during(self, name: str) -> Iterator[None]:
        """A phase as a block."""
        self.enter(name)
        yield
        self.leave()

    def close(self) -> None:
        """Closes the file; later calls are an error."""
        self._file.close()

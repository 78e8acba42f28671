"""Reading what the ranks write: `events/rank{r}.jsonl`, one JSON object a line, while they write it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil


class RankFile:
    """One rank's file, read on from where the last reading stopped.

    A line without its newline is not finished yet; a line that is no JSON object (a rank killed while
    writing, a disk that filled up) is passed over and counted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""
        self.num_bad_lines = 0

    def read(self) -> list[dict[str, Any]]:
        """New whole lines since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                received = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(received)
        *lines, self._rest = (self._rest + received).split(b"\n")
        events = []
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if isinstance(event, dict) and isinstance(event.get("ev"), str):
                events.append(event)
            elif line.strip():
                self.num_bad_lines += 1
        return events


@dataclass(slots=True)
class RankError:
    """An error line."""

    type: str
    text: str
    traceback: str | None
    phase: str | None
    t_ns: int


@dataclass(slots=True)
class RankState:
    """Where one rank is, by its own lines."""

    rank: int
    pid: int | None = None
    phase: str | None = None
    """The phase it entered last."""
    last_step: int = 0
    errors: list[RankError] = field(default_factory=list)
    ended: bool = False
    phase_seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    last_t_ns: int | None = None
    """The rank's own clock at its last line."""
    lost_t_ns: int | None = None
    """When its process was found gone, without an error or an end line."""

    @property
    def started(self) -> bool:
        """It wrote a line."""
        return self.last_t_ns is not None

    def is_lost(self) -> bool:
        """Look at the process table.

        A rank that vanished while its peers sleep is otherwise not missed: the agent waits for its return
        value for ever, or 30 s for peers that hear no SIGTERM.
        """
        if self.lost_t_ns is None and self.pid is not None and not self.ended and not self.errors:
            try:
                is_there = psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
            except psutil.Error:
                is_there = False
            if not is_there:
                self.lost_t_ns = time.monotonic_ns()
        return self.lost_t_ns is not None

    def take(self, event: dict[str, Any]) -> None:
        """Follow one line."""
        self.last_t_ns = int(event.get("t_ns") or time.monotonic_ns())
        match event["ev"]:
            case "start":
                self.pid = event.get("pid")
            case "enter":
                self.phase = event.get("name")
            case "phase":
                name, seconds = event.get("name"), event.get("seconds")
                if isinstance(name, str) and isinstance(seconds, int | float):
                    self.phase_seconds[name] = self.phase_seconds.get(name, 0.0) + seconds
            case "step":
                self.last_step = max(self.last_step, int(event.get("step") or 0))
            case "memory":
                self._take_peak(event)
            case "error":
                self.errors.append(
                    RankError(
                        type=str(event.get("type") or "Exception"),
                        text=str(event.get("text") or ""),
                        traceback=event.get("traceback"),
                        phase=event.get("phase") or self.phase,
                        t_ns=self.last_t_ns,
                    )
                )
            case "end":
                self.ended = True
                self._take_peak(event)

    def _take_peak(self, event: dict[str, Any]) -> None:
        peak = event.get("peak_memory_bytes")
        if isinstance(peak, int):
            self.peak_memory_bytes = max(peak, self.peak_memory_bytes or 0)

"""The watchdog over a running trial. It sees lines arrive and says when to end it, and why."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto


class StopKind(Enum):
    """Why a trial was ended from outside."""

    NO_FIRST_LINE = auto()
    HUNG = auto()
    FAILED = auto()
    TIMEOUT = auto()
    STOPPED = auto()


@dataclass(slots=True)
class Stop:
    """The decision to end a trial."""

    kind: StopKind
    text: str
    rank: int | None = None
    phase: str | None = None


@dataclass(kw_only=True, slots=True)
class Limits:
    """All in seconds, counted from the moment the trial's process exists."""

    timeout_s: float
    """The whole trial."""
    hang_s: float
    """Without any line of any rank."""
    first_line_s: float
    """Until the first line. Not below 10: on an overloaded machine a healthy rank took 3.6 s."""
    failure_grace_s: float = 2.0
    """From the first error line until the others are no longer waited for. A rank that does not hear SIGTERM
    would cost the agent 30 s."""


class Watchdog:
    """Call `saw` for what arrived and `decide` after each look.

    Args:
        limits: How long is too long.
        should_stop: The caller's wish to end it; None: never.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        limits: Limits,
        should_stop: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._should_stop = should_stop
        self._clock = clock
        self._started = self._last_line = clock()
        self._any_line = False
        self._failed_at: float | None = None

    def start(self) -> None:
        """The trial's process exists from now on."""
        self._started = self._last_line = self._clock()

    def saw(self, num_lines: int, *, failed: bool) -> None:
        """New lines arrived; `failed`: there is an error line among all so far."""
        now = self._clock()
        if num_lines:
            self._any_line = True
            self._last_line = now
        if failed and self._failed_at is None:
            self._failed_at = now

    def wants_stop(self) -> Stop | None:
        """Only the caller's wish."""
        if self._should_stop is not None and self._should_stop():
            return Stop(StopKind.STOPPED, "stopped on request")
        return None

    def overdue(self) -> Stop | None:
        """The caller's wish, or the whole time-out."""
        if stop := self.wants_stop():
            return stop
        if self._clock() - self._started > self._limits.timeout_s:
            return Stop(StopKind.TIMEOUT, f"not finished after {self._limits.timeout_s:g} s")
        return None

    def decide(self) -> Stop | None:
        """None: go on."""
        now, limits = self._clock(), self._limits
        if stop := self.wants_stop():
            return stop
        if self._failed_at is not None:
            if now - self._failed_at > limits.failure_grace_s:
                return Stop(StopKind.FAILED, "a rank failed and the others did not end")
            return None
        if not self._any_line and now - self._started > limits.first_line_s:
            return Stop(StopKind.NO_FIRST_LINE, f"no rank wrote a line within {limits.first_line_s:g} s")
        if stop := self.overdue():
            return stop
        if self._any_line and now - self._last_line > limits.hang_s:
            return Stop(StopKind.HUNG, f"no rank made progress for {limits.hang_s:g} s")
        return None

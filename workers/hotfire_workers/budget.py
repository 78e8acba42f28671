"""The time budget of one preflight: all trials together."""

from __future__ import annotations

import time
from collections.abc import Callable


class Budget:
    """Counts from `start` on; says what a trial may still take.

    Args:
        total_s: `plan.time_budget`.
        clock: Seconds, monotonic.
    """

    def __init__(self, total_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.total_s = total_s
        self._clock = clock
        self._started: float | None = None
        self.not_run: list[str] = []
        """Trials that were wanted and not run, or not run to their end, for lack of time."""
        self._seconds: list[float] = []

    def start(self) -> None:
        """The first trial's preparation begins."""
        if self._started is None:
            self._started = self._clock()

    @property
    def spent_s(self) -> float:
        """Since `start`."""
        return 0.0 if self._started is None else self._clock() - self._started

    @property
    def remaining_s(self) -> float:
        """Never below 0."""
        return max(0.0, self.total_s - self.spent_s)

    @property
    def is_over(self) -> bool:
        """Nothing may run any more."""
        return self.remaining_s <= 0

    @property
    def is_short(self) -> bool:
        """Something was not run for lack of time."""
        return bool(self.not_run)

    @property
    def typical_s(self) -> float:
        """What a trial took so far, in the mean; 0 before the first."""
        return sum(self._seconds) / len(self._seconds) if self._seconds else 0.0

    def took(self, seconds: float) -> None:
        """A trial has ended."""
        self._seconds.append(seconds)

    def allows_another(self) -> bool:
        """A trial like those so far would end in time."""
        return not self.is_over and self.remaining_s >= self.typical_s

    def missed(self, name: str) -> None:
        """A trial was not run (to its end)."""
        if name not in self.not_run:
            self.not_run.append(name)

    @property
    def needed_s(self) -> float | None:
        """An estimate of the budget with which everything would have run; None if all did."""
        if not self.not_run:
            return None
        each = max(self.typical_s, 1.0)
        return 1.2 * (max(self.spent_s, self.total_s) + len(self.not_run) * each)

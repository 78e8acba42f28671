"""Which step comes next: scheduled or at the peak learning rate, and when the trial has seen enough.

A trial aims at *applied* steps: fp16 spends its first attempts searching for a loss scale, and a warm-up
starts at learning rate 0. The first steps run as scheduled; the last ones at the schedule's highest learning
rate, because inside a warm-up a good rate and a ruinous one draw the same loss curve.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Pace:
    """Counts attempts and applied steps of one rank. All ranks see the same counts.

    Attributes:
        num_steps: Applied steps aimed at, scheduled and peak together.
        num_peak_steps: How many of them run at the peak; at least one step is always a scheduled one.
        max_attempts: Attempts after which the trial ends whatever was applied.
        max_lost_attempts: Attempts after which a trial ends in which no loss was ever finite; None: it goes on.
    """

    num_steps: int
    num_peak_steps: int
    max_attempts: int
    max_lost_attempts: int | None = None
    attempts: int = 0
    applied: int = 0
    _any_finite: bool = False
    _scales: set[float | None] = field(default_factory=set)

    @property
    def num_scheduled(self) -> int:
        """Applied steps before the peak phase."""
        return max(self.num_steps - self.num_peak_steps, min(1, self.num_steps))

    @property
    def step(self) -> int:
        """Number of the attempt that comes next, from 1."""
        return self.attempts + 1

    @property
    def at_peak(self) -> bool:
        """The next attempt runs at the peak learning rate."""
        return self.num_peak_steps > 0 and self.applied >= self.num_scheduled

    @property
    def measures_update(self) -> bool:
        """The next attempt is one whose weight change is measured: first, last scheduled, last peak."""
        return self.applied in {0, self.num_scheduled - 1, self.num_steps - 1}

    @property
    def finished(self) -> bool:
        """Enough was applied, or enough was tried."""
        done = self.applied >= self.num_steps or self.attempts >= self.max_attempts
        return done or self.is_stuck or self.is_lost

    @property
    def is_stuck(self) -> bool:
        """Nothing was ever applied and the loss scale never moved: more attempts would skip like these."""
        return self.applied == 0 and self.attempts >= self.num_steps and len(self._scales - {None}) == 1

    @property
    def is_lost(self) -> bool:
        """No loss was finite from the first attempt on: how the trial ends cannot change any more."""
        limit = self.max_lost_attempts
        return limit is not None and self.attempts >= limit and not self._any_finite

    def record(self, *, applied: bool, loss_scale: float | None = None, finite: bool = True) -> None:
        """Counts the attempt that has just ended.

        Args:
            applied: The optimizer moved.
            loss_scale: It was taken with this loss scale.
            finite: Its loss was finite on every rank.
        """
        self.attempts += 1
        self._any_finite |= finite
        self._scales.add(loss_scale)
        self.applied += int(applied)

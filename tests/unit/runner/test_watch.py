from __future__ import annotations

import pytest

from hotfire_workers.runner.watch import Limits, StopKind, Watchdog


class Bench:
    """A watchdog and its clock."""

    def __init__(self, **limits: float) -> None:
        self.now = 100.0
        self.wish = False
        defaults = {"timeout_s": 60.0, "hang_s": 20.0, "first_line_s": 10.0, "failure_grace_s": 2.0}
        self.dog = Watchdog(Limits(**{**defaults, **limits}), lambda: self.wish, clock=lambda: self.now)

    def after(self, seconds: float) -> StopKind | None:
        self.now += seconds
        stop = self.dog.decide()
        return stop and stop.kind


def test_no_first_line() -> None:
    bench = Bench()
    assert bench.after(9.9) is None
    assert bench.after(0.2) is StopKind.NO_FIRST_LINE


def test_waiting_in_the_queue_does_not_count() -> None:
    bench = Bench()
    bench.now += 50
    bench.dog.start()
    assert bench.after(9) is None


def test_a_hang_is_counted_from_the_last_line() -> None:
    bench = Bench()
    for _ in range(2):
        bench.now += 15
        bench.dog.saw(1, failed=False)
    assert bench.after(19) is None
    assert bench.after(2) is StopKind.HUNG


def test_the_others_get_two_seconds_after_a_failure() -> None:
    bench = Bench()
    bench.dog.saw(1, failed=True)
    assert bench.after(1.9) is None
    bench.dog.saw(1, failed=True)
    assert bench.after(0.2) is StopKind.FAILED


@pytest.mark.parametrize("failed", [True, False])
def test_the_callers_wish_comes_first(failed: bool) -> None:
    bench = Bench()
    bench.dog.saw(1, failed=failed)
    bench.wish = True
    assert bench.after(0) is StopKind.STOPPED


def test_the_whole_time_out_in_spite_of_progress() -> None:
    bench = Bench(timeout_s=5)
    bench.now += 4
    bench.dog.saw(1, failed=False)
    assert bench.after(2) is StopKind.TIMEOUT

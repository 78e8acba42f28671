from __future__ import annotations

import pytest

from hotfire_workers.train.loops.pace import Pace


def run(pace: Pace, applied: list[bool]) -> list[tuple[int, bool, bool]]:
    seen = []
    for was_applied in applied:
        if pace.finished:
            break
        seen.append((pace.step, pace.at_peak, pace.measures_update))
        pace.record(applied=was_applied)
    return seen


def test_scheduled_steps_then_peak_steps() -> None:
    pace = Pace(num_steps=8, num_peak_steps=3, max_attempts=40)
    seen = run(pace, [True] * 40)
    assert [at_peak for _, at_peak, _ in seen] == [False] * 5 + [True] * 3
    assert [step for step, _, measured in seen if measured] == [1, 5, 8]
    assert pace.finished
    assert (pace.attempts, pace.applied) == (8, 8)


def test_skipped_steps_do_not_count_and_are_measured_again() -> None:
    pace = Pace(num_steps=2, num_peak_steps=1, max_attempts=40)
    seen = run(pace, [False, False, True, False, True])
    assert [at_peak for _, at_peak, _ in seen] == [False, False, False, True, True]
    assert all(measured for _, _, measured in seen)
    assert pace.attempts == 5


def test_a_loss_scale_that_never_moves_ends_a_trial_in_which_nothing_is_applied() -> None:
    stuck = Pace(num_steps=8, num_peak_steps=3, max_attempts=40)
    searching = Pace(num_steps=8, num_peak_steps=3, max_attempts=40)
    for attempt in range(8):
        assert not stuck.finished
        stuck.record(applied=False, loss_scale=2.0**24)
        searching.record(applied=False, loss_scale=2.0 ** (32 - attempt))
    assert stuck.finished
    assert not searching.finished


def test_attempts_end_a_trial_in_which_nothing_is_applied() -> None:
    pace = Pace(num_steps=8, num_peak_steps=3, max_attempts=6)
    assert len(run(pace, [False] * 40)) == 6
    assert pace.applied == 0


@pytest.mark.parametrize(("num_steps", "num_peak", "scheduled"), [(1, 3, 1), (2, 3, 1), (4, 0, 4), (8, 3, 5)])
def test_one_step_at_least_is_scheduled(num_steps: int, num_peak: int, scheduled: int) -> None:
    pace = Pace(num_steps=num_steps, num_peak_steps=num_peak, max_attempts=40)
    seen = run(pace, [True] * 40)
    assert len(seen) == num_steps
    assert sum(not at_peak for _, at_peak, _ in seen) == scheduled

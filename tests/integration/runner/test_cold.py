"""The cold twin gives the same evidence."""

from __future__ import annotations

from pathlib import Path

import pytest
from slot_helpers import pids, trial_request

from hotfire.rules.evidence import PrepareRequest, Trial, TrialOutcome
from hotfire_workers.runner.service import WarmService


def test_same_evidence_as_warm(shared_service: WarmService, tmp_path: Path) -> None:
    warm, cold = shared_service.runner(), shared_service.cold_runner()
    request = {"faults": {"group": True}}
    pair = [
        warm.run_trial(trial_request(tmp_path / "w", **request)),
        cold.run_trial(trial_request(tmp_path / "c", **request)),
    ]
    assert [trial.launcher for trial in pair] == ["warm", "cold"]
    assert _without_times(pair[0]) == _without_times(pair[1])
    assert not pids(shared_service.marker + ".cold")


def test_a_failing_rank_is_named(shared_service: WarmService, tmp_path: Path) -> None:
    trial = shared_service.cold_runner().run_trial(trial_request(tmp_path, {"rank1": "kill", "group": True}))
    assert trial.error is not None
    assert (trial.outcome, trial.error.rank, trial.error.signal) == (TrialOutcome.CRASHED, 1, "SIGKILL")


@pytest.mark.slow
def test_stop_and_first_line_limit(shared_service: WarmService, tmp_path: Path) -> None:
    stopped = shared_service.cold_runner().run_trial(trial_request(tmp_path / "a"), should_stop=lambda: True)
    assert stopped.outcome is TrialOutcome.NOT_EXERCISED
    silent = shared_service.cold_runner(first_line_s=8).run_trial(
        trial_request(tmp_path / "b", {"all": "no-line"})
    )
    assert silent.outcome is TrialOutcome.HUNG
    assert not pids(shared_service.marker + ".cold")


def test_preparation(shared_service: WarmService, tmp_path: Path) -> None:
    cold = shared_service.cold_runner()
    request = PrepareRequest(out_dir=str(tmp_path), model={}, data={}, training={})
    result = cold.prepare(request, timeout_s=60)
    assert result.launcher == "cold"
    assert result.model is not None
    assert result.data is not None
    request.model = {"fault": "raise"}
    failed = cold.prepare(request, timeout_s=60)
    assert failed.error is not None
    assert failed.error.type == "ValueError"


def _without_times(trial: Trial) -> tuple[object, ...]:
    return trial.steps, trial.completed, trial.outcome, trial.error, trial.peak_memory_bytes, trial.num_ranks

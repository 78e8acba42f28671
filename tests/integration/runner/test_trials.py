"""Trials in a real warm process, with stand-in ranks: what comes back, also when a rank fails."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from slot_helpers import keepers, pids, trial_request, wait_for

from hotfire.rules.evidence import PrepareRequest, Step, TrialOutcome
from hotfire_workers.runner.base import RunnerError
from hotfire_workers.runner.service import WarmService
from hotfire_workers.runner.warm import WarmRunner


@pytest.fixture
def runner(shared_service: WarmService) -> WarmRunner:
    """Without a cold twin: what the warm way cannot do fails the test."""
    return WarmRunner(shared_service.socket_path)


def test_a_trial_gives_its_evidence(runner: WarmRunner, tmp_path: Path) -> None:
    seen: list[Step] = []
    trial = runner.run_trial(trial_request(tmp_path, {"group": True}), on_step=seen.append)
    assert trial.completed
    assert trial.outcome is None
    assert trial.launcher == "warm"
    assert [step.step for step in trial.steps] == [step.step for step in seen] == [1, 2, 3]
    assert trial.steps[0].loss == pytest.approx(2.5)
    assert trial.steps[0].num_supervised_tokens == 20
    assert trial.peak_memory_bytes == 1001


@pytest.mark.parametrize(
    ("fault", "outcome", "kind", "code"),
    [
        ("raise", TrialOutcome.CRASHED, "ValueError", 1),
        ("oom", TrialOutcome.OUT_OF_MEMORY, "RuntimeError", 1),
        ("kill", TrialOutcome.CRASHED, "Killed", -9),
        ("segv", TrialOutcome.CRASHED, "Killed", -11),
        ("exit0", TrialOutcome.CRASHED, "SilentExit", 0),
        ("exit3", TrialOutcome.CRASHED, "SilentExit", 3),
    ],
)
def test_the_failing_rank_is_named_not_its_victim(
    runner: WarmRunner, tmp_path: Path, fault: str, outcome: TrialOutcome, kind: str, code: int
) -> None:
    trial = runner.run_trial(trial_request(tmp_path, {"rank1": fault, "group": True}))
    assert trial.error is not None
    assert (trial.outcome, trial.error.type, trial.error.rank, trial.error.exit_code) == (
        outcome,
        kind,
        1,
        code,
    )
    assert [step.step for step in trial.steps] == [1]


def test_a_peer_that_hears_no_sigterm_costs_two_seconds_not_thirty(
    runner: WarmRunner, tmp_path: Path
) -> None:
    trial = runner.run_trial(trial_request(tmp_path, {"rank1": "raise", "rank0": "ignore-term sleep"}))
    assert trial.error is not None
    assert trial.error.message == "the fault of this rank"
    assert trial.seconds is not None
    assert trial.seconds < 6


def test_a_rank_that_leaves_without_a_word_is_missed(runner: WarmRunner, tmp_path: Path) -> None:
    trial = runner.run_trial(trial_request(tmp_path, {"rank1": "exit0", "rank0": "sleep"}))
    assert trial.error is not None
    assert (trial.outcome, trial.error.rank, trial.error.type) == (TrialOutcome.CRASHED, 1, "SilentExit")


def test_a_hang_names_the_rank_that_hangs(shared_service: WarmService, tmp_path: Path) -> None:
    runner = WarmRunner(shared_service.socket_path, hang_s=1.5)
    trial = runner.run_trial(trial_request(tmp_path, {"rank1": "hang", "group": True}))
    assert trial.outcome is TrialOutcome.HUNG
    assert trial.error is not None
    assert trial.error.rank == 1
    assert "hang_here" in trial.error.message


def test_timeout_and_stop_end_the_tree(
    runner: WarmRunner, shared_service: WarmService, tmp_path: Path
) -> None:
    before = keepers(shared_service)
    late = runner.run_trial(trial_request(tmp_path / "late", {"all": "sleep"}, timeout_s=1.0))
    assert late.outcome is TrialOutcome.NOT_EXERCISED
    assert late.reason is not None
    assert "1 s" in late.reason
    began = time.monotonic()
    stopped = runner.run_trial(
        trial_request(tmp_path / "stopped", {"all": "sleep"}),
        should_stop=lambda: time.monotonic() > began + 0.5,
    )
    assert (stopped.outcome, stopped.reason) == (TrialOutcome.NOT_EXERCISED, "stopped on request")
    wait_for(lambda: pids(shared_service.marker) == before, 2)


def test_trials_of_one_slot_wait_for_each_other(runner: WarmRunner, tmp_path: Path) -> None:
    results = []

    def one(name: str) -> None:
        results.append(runner.run_trial(trial_request(tmp_path / name)).completed)

    threads = [threading.Thread(target=one, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 3


def test_preparation(runner: WarmRunner, tmp_path: Path) -> None:
    def prepare(name: str, timeout_s: float = 10.0, **model: str) -> object:
        request = PrepareRequest(out_dir=str(tmp_path / name), model=model, data={}, training={})
        return runner.prepare(request, timeout_s=timeout_s)

    good = prepare("good")
    assert good.error is None
    assert good.model.vocab_size == 64
    assert good.data.rows[0].num_supervised == 1
    assert prepare("raise", fault="raise").error.message == "no such model"
    assert prepare("kill", fault="kill").error.signal == "SIGKILL"
    assert prepare("sleep", 0.5, fault="sleep").error.type == "Timeout"


def test_nothing_is_left_behind(runner: WarmRunner, shared_service: WarmService, tmp_path: Path) -> None:
    before = keepers(shared_service)
    trial = runner.run_trial(trial_request(tmp_path, {"rank1": "grandchild raise", "rank0": "grandchild"}))
    assert trial.steps
    wait_for(lambda: pids(shared_service.marker) == before, 2)
    assert not list(Path("/tmp").glob("torchelastic_*"))
    health = shared_service.health()
    assert health is not None
    assert len(health["threads"]) == 1
    assert not health["busy"]


def test_the_socket_refuses_what_it_does_not_know(shared_service: WarmService) -> None:
    from hotfire_workers.runner.channel import Channel

    for message, part in [
        ({"kind": "shell"}, "expected health"),
        ({"kind": "trial", "request": "/nowhere"}, "expected the path"),
        ({"no": "kind"}, "with `kind`"),
    ]:
        with Channel(shared_service.socket_path) as channel:
            channel.send(**message)
            [answer] = channel.receive(5)
            assert answer["ev"] == "refused"
            assert part in answer["text"]


def test_nobody_listens(tmp_path: Path) -> None:
    runner = WarmRunner(tmp_path / "none.sock", start_timeout_s=0.2)
    with pytest.raises(RunnerError, match="no warm process at"):
        runner.run_trial(trial_request(tmp_path / "run"))


def test_ranks_that_never_write_are_repeated_cold_and_counted(
    shared_service: WarmService, tmp_path: Path
) -> None:
    class Cold:
        def run_trial(self, request: object, **_: object) -> object:
            assert not (tmp_path / "agent.log").exists()
            assert (tmp_path / "attempt-1" / "agent.log").exists()
            return runner_without_limit.run_trial(trial_request(tmp_path))

    runner_without_limit = WarmRunner(shared_service.socket_path)
    runner = WarmRunner(shared_service.socket_path, cold=Cold(), first_line_s=1.0)  # type: ignore[arg-type]
    trial = runner.run_trial(trial_request(tmp_path, {"all": "no-line"}))
    assert trial.completed
    assert runner.cold_repeats == ["no rank wrote a line within 1 s"]
    assert trial.facts["repeated_cold"] == runner.cold_repeats[0]

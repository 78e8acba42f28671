from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hotfire.rules.evidence import Role, TrialOutcome, TrialRequest
from hotfire_workers.runner.collect import Collector, collect
from hotfire_workers.runner.watch import Stop, StopKind


def request(run_dir: Path) -> TrialRequest:
    return TrialRequest(
        name="candidate",
        role="CANDIDATE",
        run_dir=str(run_dir),
        prepared_dir=str(run_dir),
        model={},
        training={},
        deepspeed={},
        loop="TRAINER",
        num_ranks=2,
    )


def write(run_dir: Path, rank: int, *events: dict[str, Any], tail: str = "") -> None:
    path = run_dir / "events" / f"rank{rank}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("".join(json.dumps({"t_ns": 1, **event}) + "\n" for event in events) + tail)


def step(number: int, loss: float) -> dict[str, Any]:
    return {"ev": "step", "step": number, "phase": "SCHEDULED", "applied": True, "loss": loss}


def test_a_whole_trial(tmp_path: Path) -> None:
    facts = {"stage": 2, "dtype": "bf16", "versions": {"torch": "2"}, "effective_config": {"a": 1}}
    write(tmp_path, 0, {"ev": "facts", **facts, "facts": {"optimizer": "AdamW"}}, {"ev": "note", "text": "n"})
    write(tmp_path, 0, {"ev": "facts", "zero_optimizer_class": "Z", "facts": {"vocab_size": 5}})
    write(
        tmp_path,
        0,
        {"ev": "groups", "groups": [{"name": "old"}]},
        {"ev": "groups", "groups": [{"name": "lora"}]},
    )
    for rank in (0, 1):
        write(tmp_path, rank, {"ev": "phase", "name": "model", "seconds": 0.1 + rank}, step(1, 1.0 + rank))
        write(tmp_path, rank, {"ev": "end", "peak_memory_bytes": 10 * (rank + 1)})
    trial = collect(tmp_path, request(tmp_path), launcher="cold")
    assert trial.completed
    assert (trial.outcome, trial.error, trial.launcher, trial.role) == (None, None, "cold", Role.CANDIDATE)
    assert (trial.stage, trial.dtype, trial.zero_optimizer_class, trial.loop) == (2, "bf16", "Z", "trainer")
    assert trial.facts == {"optimizer": "AdamW", "vocab_size": 5, "notes": ["n"]}
    assert [group.name for group in trial.groups] == ["lora"]
    assert trial.phase_seconds == {"model": 1.1}
    assert trial.peak_memory_bytes == 20
    assert trial.steps[0].loss == 1.5
    assert trial.num_steps_aimed == 8


def test_lines_are_read_as_they_come_and_half_lines_wait(tmp_path: Path) -> None:
    collector = Collector(request(tmp_path))
    assert collector.read() == (0, [])
    write(tmp_path, 0, step(1, 1.0))
    assert collector.read() == (1, [])
    whole = json.dumps(step(1, 2.0))
    write(tmp_path, 1, tail=whole[:10])
    assert collector.read() == (0, [])
    write(tmp_path, 1, tail=whole[10:] + "\n")
    num_lines, [finished] = collector.read()
    assert (num_lines, finished.step, finished.loss) == (1, 1, 1.5)


def test_unreadable_lines_are_counted_not_fatal(tmp_path: Path) -> None:
    write(tmp_path, 0, step(1, 1.0), tail="{broken\n\x00\x00\n[1]\n")
    trial = collect(tmp_path, request(tmp_path))
    assert trial.facts["num_unreadable_lines"] == 3
    assert len(trial.steps) == 1


def test_non_finite_tokens_survive(tmp_path: Path) -> None:
    write(tmp_path, 0, tail='{"ev": "step", "step": 1, "loss": NaN, "grad_norm": Infinity}\n')
    [only] = collect(tmp_path, request(tmp_path)).steps
    assert only.loss != only.loss
    assert only.grad_norm == float("inf")


def test_the_blamed_ranks_stderr_is_the_tail(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "trial_x" / "attempt_0" / "1" / "stderr.log"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {n}\n" for n in range(100)))
    write(tmp_path, 1, {"ev": "error", "type": "ValueError", "text": "bad"})
    trial = collect(tmp_path, request(tmp_path))
    assert trial.outcome is TrialOutcome.CRASHED
    assert trial.error is not None
    assert (trial.error.log_tail[0], trial.error.log_tail[-1]) == ("line 80", "line 99")


def test_why_the_runner_ended_it(tmp_path: Path) -> None:
    def outcome(kind: StopKind) -> tuple[TrialOutcome | None, str | None, str | None]:
        stop = Stop(kind, "why", rank=1, phase="steps")
        trial = Collector(request(tmp_path)).trial(launcher="warm", stop=stop)
        return trial.outcome, trial.reason, trial.error and trial.error.type

    assert outcome(StopKind.HUNG) == (TrialOutcome.HUNG, None, "Hung")
    assert outcome(StopKind.TIMEOUT) == (TrialOutcome.NOT_EXERCISED, "why", None)
    write(tmp_path, 0, {"ev": "error", "type": "ValueError", "text": "bad"})
    assert outcome(StopKind.FAILED) == (TrialOutcome.CRASHED, None, "ValueError")
    assert outcome(StopKind.TIMEOUT) == (TrialOutcome.CRASHED, None, "ValueError")
    assert outcome(StopKind.STOPPED) == (TrialOutcome.NOT_EXERCISED, "why", None)

"""The way of a preflight, with a scripted runner: which trials are made, what is concluded, what is told."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from scripted import CONFIG, TRAINING, ScriptedRunner, broken, healthy, settings, spec, stage_of
from tests.unit.rules import factory

from hotfire import wire
from hotfire.rules.engine import all_rules
from hotfire.rules.evidence import TrialError
from hotfire.v1 import report_pb2
from hotfire_workers.events import MemorySink, Stopped
from hotfire_workers.preflight import run_preflight
from hotfire_workers.runner.base import PrepareResult, RunnerError

V = report_pb2


def run(tmp_path: Path, runner: ScriptedRunner, sink: MemorySink | None = None, **changes):
    return run_preflight(
        spec(tmp_path, **changes), runner=runner, sink=sink or MemorySink(), settings=settings(tmp_path)
    )


def fix_of(report: report_pb2.Report, rule: str) -> report_pb2.Fix:
    return next(f.fix for f in report.findings if f.rule == rule)


def test_a_healthy_job_needs_two_trials(tmp_path):
    runner, sink = ScriptedRunner(), MemorySink()
    report = run(tmp_path, runner, sink)
    assert report.verdict == V.VERDICT_PASS, report.headline
    assert runner.names == ["candidate", "reference"]
    assert runner.trials[0].num_ranks == 2
    assert runner.trials[1].deepspeed is None
    assert runner.trials[1].reference_config == runner.trials[0].deepspeed
    assert report.zero.guilty == V.GUILTY_NONE
    assert {c.rule_id for c in report.checks} == {r.id for r in all_rules()}
    assert sink.rows
    assert sorted(sink.rows)[0] == 1
    kinds = [e.WhichOneof("event") for e in sink.events]
    assert kinds.count("trial_started") == kinds.count("trial_finished") == 2
    assert kinds.count("step") == 16
    assert kinds[0] == "progress"
    assert not list((tmp_path / "cache" / "runs").glob("run-*"))


def test_only_one_stage_fails_the_others_are_tried_and_the_cure_is_recommended(tmp_path):
    def trial(request):
        return (
            broken(request, num_supervised_tokens=160)
            if stage_of(request) == 2 and request.deepspeed
            else None
        )

    runner = ScriptedRunner(trial=trial)
    report = run(tmp_path, runner)
    assert report.verdict == V.VERDICT_FAIL
    assert report.zero.guilty == V.GUILTY_STAGE
    assert runner.names[:6] == [
        "candidate",
        "reference",
        "candidate-again",
        "stage-0",
        "stage-1",
        "stage-3",
    ]
    assert [o.path for o in report.recommendation.patch] == ["/deepspeed/zero_optimization/stage"]
    assert report.recommendation.verification == V.VERIFICATION_VERIFIED
    # The stage trial is the trial of that patch: it is not run twice.
    assert report.recommendation.trial == "stage-3"


def test_answers_that_are_cut_off_are_cured_by_max_length_and_zero_is_acquitted(tmp_path):
    def cut(request):
        length = request.training["max_length"]
        if length >= 120:
            return None
        return factory.data([factory.cut_row(n, max_length=length) for n in range(1, 21)], max_length=length)

    runner = ScriptedRunner(data=cut, trial=lambda r: broken(r) if r.training["max_length"] < 120 else None)
    report = run(tmp_path, runner, training=TRAINING | {"max_length": 64})
    assert report.verdict == V.VERDICT_FAIL
    assert report.zero.guilty == V.GUILTY_NOT_ZERO
    fix = fix_of(report, "no-supervised-tokens")
    assert fix.verification == V.VERIFICATION_VERIFIED
    assert [o.path for o in report.recommendation.patch] == ["/training/max_length"]
    # What helps the user comes before what only completes the picture.
    assert runner.names.index("fix-1") < runner.names.index("stage-0")
    assert len(runner.preparations) >= 2


def test_two_independent_errors_are_cured_together(tmp_path):
    """The batch sizes keep it from starting, and the answers are cut off: neither patch alone is enough."""

    def cut(request):
        length = request.training["max_length"]
        if length >= 120:
            return None
        return factory.data([factory.cut_row(n, max_length=length) for n in range(1, 21)], max_length=length)

    runner = ScriptedRunner(data=cut, trial=lambda r: broken(r) if r.training["max_length"] < 120 else None)
    report = run(
        tmp_path,
        runner,
        deepspeed=CONFIG | {"train_batch_size": 7},
        training=TRAINING | {"max_length": 64, "loop": "deepspeed"},
    )
    candidate = report.trials[0]
    assert (candidate.outcome, candidate.reason) == (V.TRIAL_OUTCOME_NOT_EXERCISED, "the config cannot start")
    assert "candidate" not in runner.names
    assert report.verdict == V.VERDICT_FAIL
    assert fix_of(report, "no-supervised-tokens").verification == V.VERIFICATION_VERIFIED
    sections = {o.path.split("/")[1] for o in report.recommendation.patch}
    assert sections == {"deepspeed", "training"}


def test_a_config_that_cannot_start_is_cured_without_running_it(tmp_path):
    runner = ScriptedRunner()
    report = run(
        tmp_path,
        runner,
        deepspeed=CONFIG | {"train_batch_size": 7},
        training=TRAINING | {"loop": "deepspeed"},
    )
    assert report.verdict == V.VERDICT_FAIL
    assert runner.names == ["fix-1"]
    fix = fix_of(report, "batch-arithmetic")
    assert (fix.verification, fix.trial) == (V.VERIFICATION_VERIFIED, "fix-1")
    assert report.recommendation.patch
    outcomes = {c.rule: c.outcome for c in report.checks}
    assert outcomes["no-supervised-tokens"] == V.OUTCOME_PASSED
    assert outcomes["zero-loss"] == V.OUTCOME_SKIPPED


@pytest.mark.parametrize("plan", [{"verify_fixes": False}, {}])
def test_a_config_that_cannot_be_cured_is_answered_at_once(tmp_path, plan):
    config = CONFIG | {"train_batch_size": 7} if plan else None
    changes = {"deepspeed": config} if config else {}
    job = spec(tmp_path, training=TRAINING | {"loop": "deepspeed"}, plan=plan, **changes)
    if not plan:
        job.deepspeed.config_json = '{"train_batch_size": 8,,}'
    runner = ScriptedRunner()
    report = run_preflight(job, runner=runner, sink=MemorySink(), settings=settings(tmp_path))
    assert report.verdict == V.VERDICT_FAIL
    assert not runner.trials
    assert not runner.preparations
    later = [c for c in report.checks if c.rule_id[0] in "MDRZE"]
    assert {(c.outcome, c.reason) for c in later} == {(V.OUTCOME_SKIPPED, "the config cannot start")}
    assert all(f.fix.verification == V.VERIFICATION_NOT_TRIED for f in report.findings if f.HasField("fix"))


def test_what_was_not_run_is_said(tmp_path):
    class Clock(ScriptedRunner):
        def run_trial(self, request, **keywords):
            report = super().run_trial(request, **keywords)
            import time

            time.sleep(0.25)
            return report

    runner = Clock()
    report = run(tmp_path, runner, plan={"time_budget": "0.3s"})
    assert report.verdict == V.VERDICT_INCONCLUSIVE
    assert "budget-spent" in {f.rule for f in report.findings}
    assert runner.names == ["candidate"]


def test_a_budget_that_ends_in_the_preparation_is_said(tmp_path):
    class OutOfTime(ScriptedRunner):
        def prepare(self, request, *, timeout_s, should_stop=None):
            while not should_stop():
                time.sleep(0.001)
            return PrepareResult(error=TrialError(type="Stopped", message="stopped on request"))

    report = run(tmp_path, OutOfTime(), plan={"time_budget": "0.01s"})
    assert report.verdict == V.VERDICT_INCONCLUSIVE
    assert "budget-spent" in {f.rule for f in report.findings}
    assert "time budget of 0.01 s ran out" in report.headline
    assert "on request" not in str(report)


def test_a_model_that_does_not_load_is_a_finding_and_no_trial_is_run(tmp_path):
    facts = factory.evidence().model
    facts.readable, facts.read_error = False, "model-00002 is missing"
    runner = ScriptedRunner(model=facts)
    report = run(tmp_path, runner)
    assert report.verdict == V.VERDICT_FAIL
    assert "unreadable-model" in {f.rule for f in report.findings}
    assert not runner.trials


def test_a_preparation_that_crashes_is_no_verdict(tmp_path):
    runner = ScriptedRunner(error=TrialError(type="OutOfMemoryError", message="killed"))
    report = run(tmp_path, runner)
    assert report.verdict == V.VERDICT_INCONCLUSIVE
    assert "OutOfMemoryError" in report.headline
    skipped = {c.rule_id: c.reason for c in report.checks if c.outcome == V.OUTCOME_SKIPPED}
    assert "OutOfMemoryError" in skipped["D101"]


def test_a_path_that_this_worker_may_not_read_is_no_fault_of_the_job(tmp_path):
    report = run_preflight(
        spec(tmp_path),
        runner=ScriptedRunner(),
        sink=MemorySink(),
        settings=settings(tmp_path, allowed_roots=[str(tmp_path / "elsewhere")]),
    )
    assert report.verdict == V.VERDICT_INCONCLUSIVE
    assert "HOTFIRE_WORKER_ALLOWED_ROOTS" in report.headline


def test_a_model_that_does_not_fit_runs_as_a_shallow_copy_or_not_at_all(tmp_path):
    job = spec(tmp_path)
    config = json.loads((tmp_path / "model" / "config.json").read_text()) | {"num_hidden_layers": 400}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    runner = ScriptedRunner()
    run_preflight(
        job, runner=runner, sink=MemorySink(), settings=settings(tmp_path, memory_bytes=900 * 2**20)
    )
    assert runner.trials
    assert 2 <= runner.preparations[0].max_num_layers < 400
    runner = ScriptedRunner()
    report = run_preflight(
        job, runner=runner, sink=MemorySink(), settings=settings(tmp_path, memory_bytes=100 * 2**20)
    )
    assert not runner.trials
    assert not runner.preparations[0].make_weights
    assert report.trials[0].outcome == V.TRIAL_OUTCOME_NOT_EXERCISED
    assert "two layers" in report.trials[0].reason


def test_stages_of_the_plan_are_run_though_nothing_is_wrong(tmp_path):
    runner = ScriptedRunner()
    report = run(tmp_path, runner, plan={"stages": [1, 2, 3]})
    assert runner.names == ["candidate", "reference", "stage-1", "stage-3"]
    assert [s.stage for s in report.zero.stages] == [1, 2, 3]
    assert report.verdict == V.VERDICT_PASS


def test_cancelled_it_stops(tmp_path):
    sink = MemorySink()

    def trial(request):
        sink.is_cancelled = True
        return

    with pytest.raises(Stopped):
        run(tmp_path, ScriptedRunner(trial=trial), sink)
    assert not list((tmp_path / "cache" / "runs").glob("run-*"))


def test_a_runner_that_fails_is_our_failure(tmp_path):
    def trial(request):
        raise RunnerError("no warm process")

    with pytest.raises(RunnerError):
        run(tmp_path, ScriptedRunner(trial=trial))


def test_redacted_no_row_text_leaves_the_worker(tmp_path):
    secret = "the patient's name is Mustermann, Erika and she"

    def trial(request):
        made = factory.crashed(message=f"ValueError: bad row: {secret} is here", kind="ValueError")
        made.error.log_tail = [f"loading {secret} now"]
        return made

    rows = [{"messages": [{"role": "user", "content": secret}, {"role": "assistant", "content": "x"}]}] * 4
    sink = MemorySink()
    report = run(tmp_path, ScriptedRunner(trial=trial), sink, data={"rows": rows, "redact": True})
    told = [wire.message_to_json(m) for m in (report, *sink.events, *sink.rows.values())]
    assert not any("Mustermann" in text for text in told)
    # Without it, error texts hold none either.
    sink = MemorySink()
    report = run(tmp_path, ScriptedRunner(trial=trial), sink, data={"rows": rows})
    told = [report.headline, *(f.message for f in report.findings), *map(str, report.trials)]
    told += [str(e) for e in sink.events if e.WhichOneof("event") == "trial_finished"]
    assert not any("Mustermann" in text for text in told)


def test_literal_batch_sizes_become_those_of_the_trial(tmp_path):
    runner = ScriptedRunner()
    report = run(tmp_path, runner, deepspeed=CONFIG | {"train_batch_size": 256}, cluster={"num_gpus": 64})
    assert runner.trials[0].deepspeed["train_batch_size"] == 8
    assert report.verdict == V.VERDICT_PASS, report.headline
    change = report.trials[0].adaptations[0]
    assert (change.path, wire.value_to_python(change.before), wire.value_to_python(change.after)) == (
        "/deepspeed/train_batch_size",
        256,
        8,
    )


def test_healthy_script_is_healthy():
    """The script's own healthy trial must not be what a test finds fault with."""
    from hotfire.rules.evidence import TrialRequest

    request = TrialRequest(
        name="c", role="CANDIDATE", run_dir="", prepared_dir="", model={}, training=TRAINING, deepspeed=CONFIG,
        loop="TRAINER", num_ranks=2,
    )  # fmt: skip
    assert healthy(request).stage == 2

"""Whole preflights on the real stack: warm process, DeepSpeed, transformers; no Celery, no Redis."""

from __future__ import annotations

import json

import pytest
from worker_helpers import job

from hotfire import wire
from hotfire.v1 import report_pb2
from hotfire_workers.events import MemorySink
from hotfire_workers.preflight import run_preflight

V = report_pb2


@pytest.fixture
def run(warm_service, worker_settings):
    def run(spec, *, runner=None):
        sink = MemorySink()
        runner = runner or warm_service.runner()
        report = run_preflight(spec, runner=runner, sink=sink, settings=worker_settings)
        assert not getattr(runner, "cold_repeats", [])
        return report, sink

    return run


def outcomes(report):
    return {t.name: V.TrialOutcome.Name(t.outcome).removeprefix("TRIAL_OUTCOME_") for t in report.trials}


def test_loss_zero_is_not_zeros_fault_and_a_longer_max_length_cures_it(run):
    report, sink = run(job("glm4-loss-zero", "plan.num_steps=4", "plan.stages=[3]"))
    assert report.verdict == V.VERDICT_FAIL
    assert report.zero.guilty == V.GUILTY_NOT_ZERO
    found = outcomes(report)
    assert (found["candidate"], found["reference"], found["stage-3"]) == ("DOES_NOT_TRAIN",) * 3
    fix = next(f.fix for f in report.findings if f.rule == "no-supervised-tokens")
    assert fix.verification == V.VERIFICATION_VERIFIED
    assert found[fix.trial] == "TRAINS"
    assert [o.path for o in report.recommendation.patch] == ["/training/max_length"]
    assert sink.rows[1].tokens
    json.loads(wire.message_to_json(report))


def test_a_config_that_cannot_start_is_cured_by_a_patch_that_ran(run):
    spec = job("glm4-healthy", "plan.num_steps=2")
    config = json.loads(spec.deepspeed.config_json) | {
        "train_batch_size": 31,
        "train_micro_batch_size_per_gpu": 2,
        "gradient_accumulation_steps": 2,
    }
    spec.deepspeed.config_json = json.dumps(config)
    report, _ = run(spec)
    assert report.verdict == V.VERDICT_FAIL
    assert report.trials[0].reason == "the config cannot start"
    assert outcomes(report)["candidate"] == "NOT_EXERCISED"
    finding = next(f for f in report.findings if f.rule == "batch-arithmetic")
    assert finding.fix.verification == V.VERIFICATION_VERIFIED, finding.fix.reason
    assert report.recommendation.trial == finding.fix.trial


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "verdict", "found"),
    [("bfd", "VERDICT_PASS", None), ("wrapped", "VERDICT_WARN", "packing-contamination")],
)
def test_packed_rows_run_to_a_verdict(run, strategy, verdict, found):
    """Candidate and reference train on the same packs; only packs without borders are something to complain of."""
    packed = ("training.packing=true", "training.max_length=512", f"training.packing_strategy={strategy}")
    report, sink = run(job("glm4-healthy", "plan.num_steps=4", *packed))
    assert {name: outcomes(report)[name] for name in ("candidate", "reference")} == {
        "candidate": "TRAINS",
        "reference": "TRAINS",
    }
    assert V.Verdict.Name(report.verdict) == verdict, report.headline
    flagged = {f.rule for f in report.findings if f.severity in (V.SEVERITY_WARNING, V.SEVERITY_ERROR)}
    assert flagged == ({found} if found else set())
    assert sink.rows


@pytest.mark.slow
def test_attention_for_gpus_is_no_fault_of_the_job(run):
    """FlashAttention is in most real configs, and on no CPU."""
    report, _ = run(job("glm4-healthy", "plan.num_steps=4", "training.attn_implementation=flash_attention_2"))
    assert report.verdict == V.VERDICT_PASS, report.headline
    for trial in report.trials:
        (change,) = (a for a in trial.adaptations if a.path == "/training/attn_implementation")
        assert "GPUs only" in change.reason


@pytest.mark.slow
def test_cold_gives_the_same_answer(run, warm_service):
    spec = job("glm4-healthy", "plan.num_steps=4")
    warm, _ = run(spec)
    cold, _ = run(spec, runner=warm_service.cold_runner())
    assert (warm.verdict, cold.verdict) == (V.VERDICT_PASS, V.VERDICT_PASS)
    assert (warm.environment.launcher, cold.environment.launcher) == ("warm", "cold")
    for a, b in zip(warm.trials, cold.trials, strict=True):
        assert [s.loss for s in a.steps] == pytest.approx([s.loss for s in b.steps], rel=1e-4)

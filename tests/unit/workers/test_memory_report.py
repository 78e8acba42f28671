"""The memory forecast in the report of a preflight."""

from __future__ import annotations

import dataclasses

from tests.unit.rules import factory
from tests.unit.workers.scripted import ScriptedRunner, healthy, settings, spec

from hotfire.v1 import report_pb2 as v
from hotfire_workers.events import MemorySink
from hotfire_workers.preflight import run_preflight

GIB = 2**30
CONFIG = {
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
}  # fmt: skip


def run(tmp_path, *, gib=80.0, peak=None, **changes):
    facts = dataclasses.replace(
        factory.evidence().model, config=CONFIG, num_parameters=None, num_trainable=None, num_layers=32
    )

    def trial(request):
        return dataclasses.replace(healthy(request), peak_memory_bytes=peak)

    cluster = {"num_gpus": 16, "num_nodes": 2, "gpu_memory_bytes": str(int(gib * GIB))}
    return run_preflight(
        spec(tmp_path, cluster=cluster, **changes),
        runner=ScriptedRunner(model=facts, trial=trial),
        sink=MemorySink(),
        settings=settings(tmp_path),
    )


def test_the_report_has_the_forecast_of_every_stage(tmp_path):
    report = run(tmp_path, plan={"stages": [1, 2, 3]})
    memory = report.memory
    assert [(s.stage, s.offload) for s in memory.stages][2:4] == [(2, "none"), (2, "optimizer")]
    assert memory.stages[2].fits
    assert memory.largest_micro_batch_size > 1
    assert memory.host_bytes > 0
    # The stage matrix says the same.
    totals = {s.stage: s.total_bytes for s in memory.stages if s.offload == "none"}
    assert {s.stage: s.forecast_bytes for s in report.zero.stages} == {n: totals[n] for n in (1, 2, 3)}


def test_what_will_not_fit_fails_the_job_though_the_trials_train(tmp_path):
    report = run(tmp_path, gib=8)
    (finding,) = [f for f in report.findings if f.rule_id == "M107"]
    assert finding.severity == v.SEVERITY_ERROR
    assert report.verdict == v.VERDICT_FAIL
    assert not report.memory.stages[2].fits
    assert finding.fix.verification != v.VERIFICATION_UNSPECIFIED


def test_a_measured_peak_is_said(tmp_path):
    assert not run(tmp_path).memory.HasField("calibrated_on")
    assert run(tmp_path, peak=2 * GIB).memory.calibrated_on.startswith("trial 'candidate' on CPU")


def test_no_forecast_of_an_architecture_that_is_not_counted(tmp_path):
    facts = dataclasses.replace(factory.evidence().model, config={"model_type": "mamba"})
    report = run_preflight(
        spec(tmp_path, cluster={"num_gpus": 16, "gpu_memory_bytes": str(80 * GIB)}),
        runner=ScriptedRunner(model=facts),
        sink=MemorySink(),
        settings=settings(tmp_path),
    )
    assert not report.HasField("memory")
    (check,) = [c for c in report.checks if c.rule_id == "M107"]
    assert check.outcome == v.OUTCOME_SKIPPED
    assert "'mamba'" in check.reason

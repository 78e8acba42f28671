"""A preflight whose target names versions: under which libraries its trials run, and that an upgrade is tried."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from scripted import ScriptedRunner, healthy, settings, spec, stage_of

from hotfire.rules.evidence import Trial, TrialRequest
from hotfire.v1 import report_pb2
from hotfire_workers.environment import WorkerFacts
from hotfire_workers.events import MemorySink
from hotfire_workers.library_sets import LibrarySet
from hotfire_workers.preflight import run_preflight

V = report_pb2
OWN = {"deepspeed": "0.19.8", "torch": "2.13.0+cpu"}
SETS = tuple(
    LibrarySet(name=name, folder=Path("/sets") / name, versions={"deepspeed": version})
    for name, version in (("old", "0.18.2"), ("older", "0.17.5"))
)


def last_micro_batch_only(request: TrialRequest) -> Trial:
    """Stage 2 under the old set loses a part of each batch."""
    trial = healthy(request)
    trial.versions = {
        **trial.versions,
        "deepspeed": {"old": "0.18.2", "older": "0.17.5"}.get(request.library_set, "0.19.8"),
    }
    if request.library_set == "old" and request.deepspeed and stage_of(request) == 2:
        trial.steps = [
            dataclasses.replace(step, grad_norm=0.649, grad_norm_measured=0.649) for step in trial.steps
        ]
    return trial


def run(tmp_path: Path, version: str | None, sets: tuple[LibrarySet, ...] = SETS):
    runner = ScriptedRunner(trial=last_micro_batch_only)
    versions = {"versions": {"deepspeed": version}} if version else {}
    report = run_preflight(
        spec(tmp_path, cluster={"num_gpus": 2, **versions}),
        runner=runner,
        sink=MemorySink(),
        settings=settings(tmp_path),
        facts=WorkerFacts(versions=OWN, library_sets=sets),
    )
    return report, runner


def finding(report: V.Report, rule: str) -> V.Finding | None:
    return next((f for f in report.findings if f.rule == rule), None)


def test_all_trials_of_a_job_run_with_the_set_that_has_its_version(tmp_path):
    report, runner = run(tmp_path, "0.17.5")
    assert report.verdict == V.VERDICT_PASS, report.headline
    assert {request.library_set for request in runner.trials} == {"older"}
    assert report.environment.versions["deepspeed"] == "0.17.5"
    assert finding(report, "version-mismatch") is None


def test_a_job_that_names_the_own_version_or_none_runs_with_the_own_libraries(tmp_path):
    for version in ("0.19.8", None):
        report, runner = run(tmp_path, version)
        assert report.verdict == V.VERDICT_PASS, report.headline
        assert {request.library_set for request in runner.trials} == {None}


def test_a_version_that_nobody_has_runs_with_the_own_libraries_and_says_so(tmp_path):
    report, runner = run(tmp_path, "0.19.7")
    assert {request.library_set for request in runner.trials} == {None}
    assert "0.19.8, the target has 0.19.7" in finding(report, "version-mismatch").message


def test_the_upgrade_runs_with_the_own_libraries_and_is_verified(tmp_path):
    report, runner = run(tmp_path, "0.18.2")
    assert report.verdict == V.VERDICT_FAIL
    fix = finding(report, "known-bad-version").fix
    assert fix.verification == V.VERIFICATION_VERIFIED, fix.reason
    assert [(o.path, o.value.string_value) for o in fix.patch] == [("/cluster/versions/deepspeed", "0.19.8")]
    upgrade = next(t for t in report.trials if t.name == fix.trial)
    assert upgrade.versions["deepspeed"] == "0.19.8"
    by_name = {request.name: request for request in runner.trials}
    assert by_name["candidate"].library_set == "old"
    assert by_name[fix.trial].library_set is None
    assert report.zero.guilty == V.GUILTY_VERSION
    assert list(report.zero.guilty_keys) == ["/cluster/versions/deepspeed"]
    assert [o.path for o in report.recommendation.patch] == ["/cluster/versions/deepspeed"]
    assert finding(report, "version-mismatch") is None


@pytest.mark.parametrize("own", ["0.18.2", None])
def test_an_upgrade_that_cannot_be_run_here_is_not_tried(tmp_path, own):
    runner = ScriptedRunner()
    report = run_preflight(
        spec(tmp_path, cluster={"num_gpus": 2, "versions": {"deepspeed": "0.18.2"}}),
        runner=runner,
        sink=MemorySink(),
        settings=settings(tmp_path),
        facts=WorkerFacts(versions={"deepspeed": own} if own else {}),
    )
    fix = finding(report, "known-bad-version").fix
    assert fix.verification == V.VERIFICATION_NOT_TRIED
    assert fix.reason.startswith(f"this worker has no deepspeed 0.18.4 (it has: {own or 'none'})")

"""Real DeepSpeed versions in one worker: the old one fails, the new one passes, and the upgrade is verified.

They are installed from PyPI into the cache once (15 s each), and their communication op is built there (30 to 100 s).
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotfire import spec as specs
from hotfire.v1 import report_pb2
from hotfire_workers.environment import WorkerFacts
from hotfire_workers.events import MemorySink
from hotfire_workers.library_sets import LibrarySet, read_set
from hotfire_workers.preflight import run_preflight
from hotfire_workers.runner.service import WarmService
from hotfire_workers.runner.shelf import LibraryRunner, Shelf
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.train.imports import default_cache_dir

V = report_pb2
ROOT = Path(__file__).parents[3]
CASES = ROOT / "tests" / "zero_cases"
OLD = "0.18.2"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
Run = Callable[..., report_pb2.Report]


def install(version: str) -> Path:
    """DeepSpeed in a folder of its own, from PyPI if it is not there yet."""
    folder = default_cache_dir() / "library-sets" / f"deepspeed-{version}"
    if any(folder.glob("*.dist-info")):
        return folder
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--target", str(folder), f"deepspeed=={version}"],
        env=os.environ | {"DS_BUILD_OPS": "0", "DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        pytest.skip(f"deepspeed {version} cannot be installed here: {lines[-1] if lines else 'pip failed'}")
    return folder


@pytest.fixture(scope="module")
def old() -> LibrarySet:
    found = read_set(f"deepspeed-{OLD}", install(OLD))
    setup = [sys.executable, "-m", "hotfire_workers.train.setup"]
    subprocess.run(setup, check=True)
    subprocess.run([*setup, "--library-set", str(found.folder)], check=True)
    return found


@pytest.fixture(scope="module")
def run(old: LibrarySet) -> Iterator[Run]:
    """Runs a case in one worker slot that has both versions."""
    cache = default_cache_dir()
    settings = WorkerSettings(cache_dir=cache, allowed_roots=[str(ROOT)], device="cpu")
    own = {name: importlib.metadata.version(name) for name in ("deepspeed", "torch", "transformers")}
    facts = WorkerFacts(versions=own, library_sets=(old,))
    name = f"versions-{os.getpid()}"
    with (
        WarmService(name, cache) as service,
        Shelf((old,), lambda suffix, env: WarmService(name + suffix, cache, env=env)) as shelf,
    ):
        service.wait_ready()
        runner = LibraryRunner(service.runner(), shelf)

        def run(case: str, *overrides: str) -> report_pb2.Report:
            spec = specs.load(CASES / case, overrides=overrides).message()
            report = run_preflight(spec, runner=runner, sink=MemorySink(), settings=settings, facts=facts)
            assert runner.cold_repeats == []
            return report

        yield run


def by_name(report: report_pb2.Report) -> dict[str, report_pb2.Trial]:
    return {trial.name: trial for trial in report.trials}


def assert_the_upgrade_is_the_cure(report: report_pb2.Report) -> None:
    assert report.verdict == V.VERDICT_FAIL, report.headline
    assert report.zero.guilty == V.GUILTY_VERSION, report.zero.explanation
    assert list(report.zero.guilty_keys) == ["/cluster/versions/deepspeed"]
    finding = next(f for f in report.findings if f.rule == "known-bad-version")
    assert finding.severity == V.SEVERITY_ERROR
    for fix in (finding.fix, report.recommendation):
        (operation,) = fix.patch
        assert operation.path == "/cluster/versions/deepspeed"
        assert fix.verification == V.VERIFICATION_VERIFIED, fix.reason
        cured = by_name(report)[fix.trial]
        assert cured.outcome == V.TRIAL_OUTCOME_TRAINS
        # The patch names the version that ran.
        assert cured.versions["deepspeed"] == operation.value.string_value
        assert cured.versions["deepspeed"] == importlib.metadata.version("deepspeed")
    assert by_name(report)["candidate"].versions["deepspeed"] == OLD
    assert report.environment.versions["deepspeed"] == OLD
    assert "version-mismatch" not in {f.rule for f in report.findings}


@pytest.mark.parametrize(("accumulation", "share"), [(2, 0.6), (4, 0.37)])
def test_plain_zero_2_keeps_the_last_micro_batch_only(run: Run, accumulation: int, share: float) -> None:
    report = run("old-deepspeed-zero2", f"training.gradient_accumulation_steps={accumulation}")
    assert_the_upgrade_is_the_cure(report)
    trials = by_name(report)
    norm = trials["reference"].steps[0].grad_norm_measured
    assert trials["candidate"].steps[0].grad_norm_measured / norm == pytest.approx(share, abs=0.02)
    assert trials["candidate"].steps[0].grad_norm == pytest.approx(
        trials["candidate"].steps[0].grad_norm_measured, rel=1e-3
    )
    # Another stage of this version is right.
    assert trials["stage-1"].versions["deepspeed"] == OLD
    assert trials["stage-1"].steps[0].grad_norm_measured == pytest.approx(norm, rel=0.01)
    stages = {stage.stage: stage for stage in report.zero.stages}
    assert stages[1].agrees_with_reference
    assert not stages[2].agrees_with_reference


def test_the_same_spec_passes_under_the_workers_own_version(run: Run) -> None:
    own = importlib.metadata.version("deepspeed")
    report = run("old-deepspeed-zero2", f"cluster.versions.deepspeed={own}")
    assert report.verdict == V.VERDICT_PASS, report.headline
    assert report.zero.guilty == V.GUILTY_NONE
    assert {trial.versions["deepspeed"] for trial in report.trials} == {own}


def test_bf16_without_zero_never_zeroes_its_gradients(run: Run) -> None:
    report = run("old-deepspeed-stage0-bf16")
    assert_the_upgrade_is_the_cure(report)
    norms = [
        (ours.grad_norm_measured, theirs.grad_norm_measured)
        for ours, theirs in zip(
            *(by_name(report)[n].steps[:3] for n in ("candidate", "reference")), strict=True
        )
    ]
    assert norms[0][0] == pytest.approx(norms[0][1], rel=0.01)
    assert norms[2][0] > 1.2 * norms[2][1]


def test_a_version_that_this_worker_lacks_is_not_claimed(run: Run) -> None:
    report = run("old-deepspeed-zero2", "cluster.versions.deepspeed=0.18.1", "plan.num_steps=2")
    assert report.verdict == V.VERDICT_FAIL  # the table knows it
    assert report.environment.versions["deepspeed"] == importlib.metadata.version("deepspeed")
    assert "version-mismatch" in {f.rule for f in report.findings}
    assert report.zero.guilty == V.GUILTY_NONE  # what ran, trains

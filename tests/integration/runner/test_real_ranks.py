"""Real ranks in a real warm process after a real set-up: each way they take, and what they import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotfire.rules.evidence import PrepareRequest, TrialRequest
from hotfire_workers.runner.service import WarmService
from hotfire_workers.train import specimen
from hotfire_workers.train.launch import REPORT_IMPORTS

pytestmark = pytest.mark.slow

_NUM_MODULES = 4
"""What a rank may still import: Cython's pseudo-modules and the like, which no list can cure."""


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    command = [sys.executable, "-m", "hotfire_workers.train.setup", "--cache-dir", str(cache)]
    done = subprocess.run(
        command, env={**os.environ, "DS_ACCELERATOR": "cpu"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
    return cache


@pytest.fixture(scope="module")
def service(cache_dir: Path) -> Iterator[WarmService]:
    with WarmService("real", cache_dir) as warm:
        health = warm.wait_ready()
        assert len(health["threads"]) == 1
        yield warm


def test_every_way_runs_and_imports_nearly_nothing(service: WarmService, tmp_path: Path) -> None:
    runner = service.runner()
    imported: dict[str, list[str]] = {}
    for name, kind, fields in specimen.requests(tmp_path):
        if kind == "prepare":
            result = runner.prepare(PrepareRequest(**fields), timeout_s=60)
            assert result.error is None
            assert result.data is not None
            assert result.data.num_rows_usable == 8
            continue
        fields["env"] = {REPORT_IMPORTS: str(tmp_path / "imports" / name)}
        trial = runner.run_trial(TrialRequest(**fields))
        assert trial.completed, trial.error
        assert trial.launcher == "warm"
        assert len(trial.steps) >= 2
        for report in (tmp_path / "imports" / name).glob("*.json"):
            imported[f"{name} {report.stem}"] = json.loads(report.read_text())
    assert runner.cold_repeats == []
    assert len(imported) == 12
    assert {name: modules for name, modules in imported.items() if len(modules) > _NUM_MODULES} == {}


def test_cold_gives_the_same_numbers(service: WarmService, tmp_path: Path) -> None:
    requests = {name: fields for name, _, fields in specimen.requests(tmp_path)}
    cold, warm = service.cold_runner(), service.runner()
    assert cold.prepare(PrepareRequest(**requests["prepare"]), timeout_s=120).error is None
    pair = []
    for runner, name in ((warm, "warm"), (cold, "cold")):
        request = TrialRequest(**{**requests["deepspeed-stage2"], "run_dir": str(tmp_path / name)})
        pair.append(runner.run_trial(request))
    assert [trial.launcher for trial in pair] == ["warm", "cold"]
    first, second = ([(s.loss, s.grad_norm, s.applied) for s in trial.steps] for trial in pair)
    assert first == second
    assert pair[0].effective_config == pair[1].effective_config

"""The bodies of tests/gpu on a CPU with gloo: they are known to run, and to be able to fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "gpu"))  # pytest's importlib mode does not

import gpu_bodies as bodies
from gpu_bodies import Bench

from hotfire_workers import devices
from hotfire_workers.runner.service import WarmService
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.slots import find_slots
from hotfire_workers.train.imports import default_cache_dir


@pytest.fixture
def bench(warm: WarmService, tmp_path: Path) -> Bench:
    cache = default_cache_dir()
    settings = WorkerSettings(device="cpu", cache_dir=cache, allowed_roots=[str(bodies.EXAMPLES)])
    return Bench(tmp_path, warm, find_slots(settings)[0], settings)


def test_one_case_of_the_matrix(bench: Bench) -> None:
    bodies.check_matrix_case(bench, 2, "bf16", "TRAINER")


def test_a_case_can_fail(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = bench.request
    spoilt = {"scale_gradient": {"rank": 1, "factor": 2.0}}
    monkeypatch.setattr(bench, "request", lambda *a, **more: honest(*a, **more, faults=spoilt))
    with pytest.raises(AssertionError):
        bodies.check_matrix_case(bench, 2, "bf16", "DEEPSPEED")


@pytest.mark.slow
@pytest.mark.skipif(bool(devices.gpus()), reason="here the suite itself can run")
def test_the_suite_is_collected_and_says_why_it_is_skipped() -> None:
    folder = Path(bodies.__file__).parent
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-rs", str(folder)]
    done = subprocess.run(command, cwd=folder.parents[1], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "44 skipped" in done.stdout
    assert "no CUDA device" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "body",
    [
        bodies.check_parent_is_clean,
        bodies.check_cold_gives_the_same,
        bodies.check_hang,
        bodies.check_nccl_speaks_into_the_trial,
        bodies.check_out_of_memory,
        bodies.check_peak_against_forecast,
        bodies.check_loss_zero_is_found,
        bodies.check_healthy_passes,
    ],
    ids=lambda body: body.__name__.removeprefix("check_"),
)
def test_the_other_bodies(bench: Bench, body) -> None:
    body(bench)

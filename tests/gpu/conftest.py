"""CUDA, or a reason why not. One warm process for the whole session, on all GPUs that are there (four at most)."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not

from gpu_bodies import EXAMPLES, Bench

from hotfire_workers import devices
from hotfire_workers.runner.environment import rank_environment
from hotfire_workers.runner.service import WarmService
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.slots import find_slots

_MAX_GPUS = 4


@functools.cache
def why_not() -> str | None:
    """Why nothing can run here. Asked of a process of its own: this one must not initialise CUDA."""
    if not devices.gpus():
        return "no CUDA device: the driver's library shows none (nvidia-ml-py)"
    script = "import torch, sys; sys.exit(0 if torch.cuda.is_available() else 3)"
    if subprocess.run([sys.executable, "-c", script]).returncode:
        return "no CUDA device: torch sees none (a build without CUDA, or a driver that is too old)"
    return None


def pytest_runtest_setup() -> None:
    """For the tests of this folder only, and only when one is about to run."""
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Set up as a worker does it; what was measured is written to `$HOTFIRE_GPU_FIGURES`, if that is set."""
    folder = tmp_path_factory.mktemp("gpu")
    cache = Path(os.environ.get("HOTFIRE_CACHE_DIR") or folder / "cache")
    settings = WorkerSettings(
        device="cuda",
        slots=1,
        devices_per_slot=min(len(devices.gpus()), _MAX_GPUS),
        cache_dir=cache,
        allowed_roots=[str(EXAMPLES)],
    )
    (slot,) = find_slots(settings)
    environment = rank_environment(device="cuda", cache_dir=cache)
    done = subprocess.run(
        [sys.executable, "-m", "hotfire_workers.train.setup", "--cache-dir", str(cache)],
        env=environment | slot.env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with WarmService("gpu-check", cache, device="cuda", env=slot.env) as service:
        service.wait_ready(300)
        made = Bench(folder, service, slot, settings)
        made.figures["device"] = f"{len(slot.gpus)} x {slot.device}"
        made.figures["set-up"] = done.stdout.strip().splitlines()
        yield made
    if path := os.environ.get("HOTFIRE_GPU_FIGURES"):
        Path(path).write_text(json.dumps(made.figures, indent=2) + "\n")

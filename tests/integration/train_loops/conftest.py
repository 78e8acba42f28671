"""A tiny model, a handful of rows, and a warm process to run trials in: one for the whole session."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hotfire.rules.evidence import Trial, TrialRequest
from hotfire_workers.runner.service import WarmService
from hotfire_workers.train.imports import default_cache_dir

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not

from train_loop_jobs import NUM_RANKS, TRAINING, RunTrial, make_model, uneven_rows, write_rows


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_model(folder)
    return folder


@pytest.fixture(scope="session")
def prepared_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    write_rows(folder, uneven_rows())
    return folder


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmService]:
    """One warm process for all trials of the session, in the environment that set-up has prepared."""
    cache = default_cache_dir()
    subprocess.run([sys.executable, "-m", "hotfire_workers.train.setup"], check=True)  # 0.1 s when done
    with WarmService(f"train-loops-{os.getpid()}", cache) as service:
        service.wait_ready()
        yield service
    shutil.rmtree(cache / "run" / service.slot, ignore_errors=True)


_counter = itertools.count(1)


@pytest.fixture
def request_for(tmp_path: Path, model_dir: Path, prepared_dir: Path) -> Callable[..., TrialRequest]:
    """Builds a request; `config=None` is the reference of `reference_config`."""

    def build(
        config: dict[str, Any] | None,
        loop: str = "TRAINER",
        *,
        training: dict[str, Any] | None = None,
        **more: Any,
    ) -> TrialRequest:
        merged = TRAINING | {"loop": loop} | (training or {})
        given = config if config is not None else more.get("reference_config") or {}
        for name in ("bf16", "fp16"):
            if given.get(name, {}).get("enabled") is True:
                merged.setdefault(name, True)
        clipping = given.get("gradient_clipping", 1.0)
        merged.setdefault("max_grad_norm", 1.0 if clipping == "auto" else clipping)
        fields: dict[str, Any] = {
            "name": f"trial-{next(_counter)}",
            "role": "CANDIDATE" if config is not None else "REFERENCE",
            "run_dir": str(tmp_path / f"run-{next(_counter)}"),
            "prepared_dir": str(prepared_dir),
            "model": {"path": str(model_dir)},
            "training": merged,
            "deepspeed": config,
            "loop": loop,
            "num_ranks": NUM_RANKS,
            "num_steps": 3,
            "num_peak_steps": 0,
            "max_attempts": 10,
            "total_steps": 1000,
            "micro_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "timeout_s": 100.0,
            "collective_timeout_s": 20.0,
            "emulate_fp16": True,
        }
        return TrialRequest(**(fields | more))

    return build


@pytest.fixture
def run_trial(warm: WarmService, request_for: Callable[..., TrialRequest]) -> RunTrial:
    """Runs a trial in the warm process and returns what the ranks left behind."""

    def run(*args: Any, **kwargs: Any) -> Trial:
        return warm.runner().run_trial(request_for(*args, **kwargs))

    return run


@pytest.fixture
def run_cold(warm: WarmService, request_for: Callable[..., TrialRequest]) -> RunTrial:
    """The same, cold, under torchrun."""

    def run(*args: Any, **kwargs: Any) -> Trial:
        return warm.cold_runner().run_trial(request_for(*args, **kwargs))

    return run

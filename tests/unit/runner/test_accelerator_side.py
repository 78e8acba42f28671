"""What differs where the ranks run on an accelerator, as far as it shows without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hotfire_workers.runner.environment import rank_environment
from hotfire_workers.train import nccl, rankguard, rehearsal, setup
from hotfire_workers.train.imports import Environment


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in [*nccl.settings(tmp_path), *nccl.ALLOCATOR, rankguard.AGENT_PID]:
        monkeypatch.delenv(name, raising=False)
    # What the code under test sets is gone after the test.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return monkeypatch


def test_a_rank_leaves_traces_of_nccl_in_its_trial(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nccl.apply(tmp_path)
    environment = os.environ
    assert environment["TORCH_NCCL_ASYNC_ERROR_HANDLING"] == "3"
    assert environment["TORCH_FR_DUMP_TEMP_FILE"] == environment["TORCH_NCCL_DEBUG_INFO_TEMP_FILE"]
    assert Path(environment["TORCH_FR_DUMP_TEMP_FILE"]).parent == tmp_path
    assert Path(environment["NCCL_DEBUG_FILE"]).parent == tmp_path
    # The recorder dumps on a time-out only with all three.
    assert int(environment["TORCH_FR_BUFFER_SIZE"]) > 0
    assert environment["TORCH_NCCL_DUMP_ON_TIMEOUT"] == environment["TORCH_NCCL_ENABLE_MONITORING"] == "1"
    assert {environment[name] for name in nccl.ALLOCATOR} == {"expandable_segments:True"}


def test_the_operators_values_stay_and_get_through(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {
        "NCCL_DEBUG": "INFO",
        "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC": "60",
        "TORCH_FR_BUFFER_SIZE": "5",
        "PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64",
    }
    os.environ.update(rank_environment(device="cuda", base=given))
    nccl.apply(tmp_path)
    assert {name: os.environ[name] for name in given} == given
    assert "PYTORCH_ALLOC_CONF" not in os.environ


@pytest.mark.parametrize(("device", "wanted"), [("cpu", False), ("cuda", True)])
def test_the_guard_of_a_rank_sets_them_on_an_accelerator(tmp_path: Path, device: str, wanted: bool) -> None:
    code = (
        "import os; from hotfire_workers.train import rankguard; "
        f"rankguard.guard_rank({str(tmp_path)!r}); print('NCCL_DEBUG_FILE' in os.environ)"
    )
    env = {k: v for k, v in os.environ.items() if k != rankguard.AGENT_PID} | {"DS_ACCELERATOR": device}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(wanted), done.stderr


def test_the_warm_process_takes_no_step_where_that_would_touch_a_gpu(
    clean: pytest.MonkeyPatch,
) -> None:
    import torch

    taken = []
    clean.setattr(torch.Tensor, "backward", lambda *_args, **_more: taken.append("backward"))
    clean.setattr(torch.optim.AdamW, "step", lambda *_args, **_more: taken.append("step"))
    os.environ["DS_ACCELERATOR"] = "cuda"
    rehearsal.take_one_step()
    assert taken == []
    os.environ["DS_ACCELERATOR"] = "cpu"
    rehearsal.take_one_step()
    assert taken == ["backward", "step"]


def pid_of_build(_environment: Environment, _builders: tuple[str, ...]) -> dict[str, str | None]:
    return {"pid": str(os.getpid())}


def test_ops_for_an_accelerator_are_built_in_another_process(
    clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clean.setattr(setup, "build", pid_of_build)
    environment = Environment("key", tmp_path)
    os.environ["DS_ACCELERATOR"] = "cuda"
    assert setup.build_apart(environment, ("FusedAdamBuilder",)) != {"pid": str(os.getpid())}
    os.environ["DS_ACCELERATOR"] = "cpu"
    assert setup.build_apart(environment, ("FusedAdamBuilder",)) == {"pid": str(os.getpid())}

"""When an injected fault strikes. (What it does is seen in real trials: tests/integration/train_loops.)"""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
import torch

from hotfire_workers.runner.causes import is_out_of_memory
from hotfire_workers.train.loops.batches import RepeatedRows
from hotfire_workers.train.loops.faults import Faults

LOSS = torch.tensor(2.0)


@pytest.mark.parametrize(
    ("fault", "steps"),
    [
        ({}, [1, 2, 3, 4]),
        ({"step": 2}, [2]),
        ({"from_step": 3}, [3, 4]),
        ({"rank": 1}, [1, 2, 3, 4]),
        ({"rank": 0}, []),
    ],
)
def test_step_from_step_and_rank(fault: dict[str, Any], steps: list[int]) -> None:
    faults = Faults({"nan_loss": fault}, rank=1)
    struck = [step for step in range(1, 5) if math.isnan(faults.on_loss(LOSS, step, micro_batch=1))]
    assert struck == steps
    assert not math.isnan(faults.on_loss(LOSS, 2, micro_batch=2))


@pytest.mark.parametrize(
    ("config", "strikes"),
    [
        ({"zero_optimization": {"stage": 2, "overlap_comm": True}}, True),
        ({"zero_optimization": {"stage": 2, "overlap_comm": False}}, False),
        ({"zero_optimization": {"stage": 3, "overlap_comm": True}}, False),
        ({}, False),
        (None, False),
    ],
)
def test_when_ties_a_fault_to_keys_of_the_config(config: dict[str, Any] | None, strikes: bool) -> None:
    when = {"zero_optimization/stage": 2, "zero_optimization/overlap_comm": True}
    faults = Faults({"scale_loss": {"factor": 4.0, "when": when}}, rank=0, config=config)
    assert float(faults.on_loss(LOSS, 1, 1)) == (8.0 if strikes else 2.0)


def test_no_fault_changes_nothing() -> None:
    faults = Faults({}, rank=1)
    assert faults.on_loss(LOSS, 1, 1) is LOSS
    assert faults.data_rank == 1
    assert faults.probe_factor() == 1.0


def test_a_rank_with_the_rows_of_rank_0() -> None:
    assert Faults({"same_rows": {"rank": 1}}, rank=1).data_rank == 0
    rows = [{"row": n} for n in range(1, 9)]
    # Micro-batches of 2: rank 1's second batch of the job is at 2 and 3, rank 0's at 0 and 1.
    shifted = RepeatedRows(rows, 16, shift=2 * (0 - 1))
    assert [shifted[i]["row"] for i in (2, 3, 6, 7)] == [1, 2, 5, 6]


def test_a_rank_with_less_memory_cannot_allocate() -> None:
    code = (
        "import torch; from hotfire_workers.train.loops.faults import Faults; "
        "Faults({'memory_limit': {'bytes': 100_000_000}}, 0).before_micro_batch(1, 1); "
        "kept = torch.ones(10_000_000 // 4); torch.ones(400_000_000 // 4)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert is_out_of_memory("RuntimeError", done.stderr.strip().splitlines()[-1]), done.stderr
    assert "400000000" in done.stderr

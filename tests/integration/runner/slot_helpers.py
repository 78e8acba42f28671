"""What the tests of the runner share: requests for stand-in ranks, and the process table."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from hotfire.rules.evidence import TrialRequest
from hotfire_workers.runner import tree
from hotfire_workers.runner.service import WarmService

HERE = Path(__file__).parent
HOOKS: dict[str, Any] = {
    "warmth": "torch",
    "env": {"PYTHONPATH": str(HERE)},
    "entry": "stand_in_ranks:run_rank",
    "prepare": "stand_in_ranks:prepare",
}
WORST = {"all": "grandchild sleep"}
"""Every rank hears no SIGTERM, leads a session and has an executed child in a session of its own."""


def trial_request(run_dir: Path, faults: dict[str, Any] | None = None, **fields: Any) -> TrialRequest:
    """A trial of two stand-in ranks."""
    defaults = {"name": "candidate", "role": "CANDIDATE", "loop": "DEEPSPEED", "num_ranks": 2, "num_steps": 3}
    return TrialRequest(
        **{**defaults, **fields},
        run_dir=str(run_dir),
        prepared_dir=str(run_dir),
        model={},
        training={},
        deepspeed={},
        faults=faults or {},
    )


def wait_for(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Wait until the condition is true; returns its value, fails the test if it never is."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout_s} s")


def pids(marker: str) -> set[int]:
    """Living processes of a slot, by the process table."""
    found = set()
    for process in tree.marked(marker):
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
        except psutil.Error:
            continue
    return found


def keepers(service: WarmService) -> set[int]:
    """The slot's guardian and warm process: what is left when no trial runs."""
    health = service.health()
    assert health is not None
    return {health["pid"], psutil.Process(health["pid"]).ppid()}

"""One real stack for all: Valkey, service process, worker process."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotfire_service.store import StoreSettings

# pytest's importlib mode does not make them importable.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "workers"))
sys.path.insert(0, str(Path(__file__).parents[1] / "service"))

from stack_helpers import Command, ServiceProcess, Stack
from worker_helpers import EXAMPLES, WorkerProcess


@pytest.fixture(scope="session")
def jobs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root where tests may put jobs of their own."""
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="session")
def stack(redis_url: str, jobs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    store = StoreSettings(
        redis_url=redis_url,
        key_prefix=f"e{uuid.uuid4().hex[:8]}:",
        artifacts_url=str(folder / "artifacts"),
        lease_s=3.0,
    )
    roots = [EXAMPLES, jobs_dir]
    service = ServiceProcess(store, folder, roots, pools=["default", "nobody"])
    worker = WorkerProcess(
        store,
        folder,
        {"HOTFIRE_WORKER_ALLOWED_ROOTS": ":".join(map(str, roots)), "HOTFIRE_WORKER_MAX_RANKS": "2"},
    )
    try:
        service.start()
        worker.start()
        yield Stack(store, folder, service, worker)
    finally:
        worker.end()
        service.end()


@pytest.fixture
def cli(stack: Stack) -> Iterator[Callable[..., Command]]:
    """Starts commands against the stack; none outlives its test."""
    started: list[Command] = []

    def start(*arguments: str | Path) -> Command:
        started.append(stack.cli(*arguments))
        return started[-1]

    yield start
    for command in started:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()

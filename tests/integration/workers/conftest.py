"""A real Valkey, a real warm process, real worker processes."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotfire_service.store import StoreSettings
from hotfire_workers.runner.service import WarmService
from hotfire_workers.settings import WorkerSettings

# pytest's importlib mode does not make them importable.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[3]))
sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "workers"))

from worker_helpers import EXAMPLES, WorkerProcess


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def worker_settings(cache_dir: Path) -> WorkerSettings:
    return WorkerSettings(cache_dir=cache_dir, allowed_roots=[str(EXAMPLES), str(cache_dir)], device="cpu")


@pytest.fixture(scope="session")
def warm_service(cache_dir: Path) -> Iterator[WarmService]:
    """Everything imported, as in production; no test may kill it."""
    with WarmService("tests", cache_dir) as service:
        service.wait_ready()
        yield service


@pytest.fixture(scope="module")
def store_settings(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> StoreSettings:
    return StoreSettings(
        redis_url=redis_url,
        key_prefix=f"w{uuid.uuid4().hex[:8]}:",
        artifacts_url=str(tmp_path_factory.mktemp("artifacts")),
        lease_s=2.0,
    )


@pytest.fixture
def new_worker(store_settings: StoreSettings, tmp_path: Path) -> Iterator[type[WorkerProcess]]:
    """Makes workers that are gone when the test is over."""
    made: list[WorkerProcess] = []

    def make(**env: str) -> WorkerProcess:
        process = WorkerProcess(store_settings, tmp_path, env)
        made.append(process)
        return process.start()

    yield make
    for process in made:
        process.end()


@pytest.fixture(scope="module")
def worker(
    store_settings: StoreSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerProcess]:
    """One worker for the tests that only kill its tasks."""
    process = WorkerProcess(store_settings, tmp_path_factory.mktemp("worker"))
    try:
        yield process.start()
    finally:
        process.end()

"""One warm process for the tests of the launcher: torch alone, stand-in ranks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotfire_workers.runner.service import WarmService

sys.path.insert(
    0, str(Path(__file__).parent)
)  # pytest's importlib mode does not; the ranks get it as PYTHONPATH

from slot_helpers import HOOKS


@pytest.fixture(scope="session")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmService]:
    """Ready to use; no test may kill it."""
    with WarmService("shared", tmp_path_factory.mktemp("shared"), **HOOKS) as service:
        service.wait_ready()
        yield service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[WarmService]:
    """One of its own for a test that kills."""
    with WarmService("own", tmp_path / "cache", **HOOKS) as own:
        own.wait_ready()
        yield own

"""The worker's main process: what each of its slots gets."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from hotfire_service.store import StoreSettings
from hotfire_workers.runner.service import WarmService
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.station import Station


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and locks are real; the warm processes, half a minute each, are not started."""
    monkeypatch.setattr(WarmService, "_spawn", lambda _: None)


def names(cache_dir: Path, slots: int, then: object = None) -> list[str]:
    station = Station(
        WorkerSettings(cache_dir=cache_dir, pool="p", slots=slots, device="cpu"), StoreSettings()
    )
    station.start()
    assert len({service.socket_path for service in station.services}) == slots
    found = [service.slot for service in station.services]
    if then is not None:
        then(found)
    for service in station.services:
        service.stop()
    return found


def test_each_slot_has_a_warm_process_of_its_own(tmp_path: Path) -> None:
    assert names(tmp_path, 3) == ["p-0", "p-1", "p-2"]


def test_another_worker_of_the_pool_takes_other_names(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()

    def other() -> None:
        names(tmp_path, 2, then=lambda found: (theirs.send(found), theirs.recv()))

    process = context.Process(target=other)
    process.start()
    assert mine.poll(20)
    assert mine.recv() == ["p-0", "p-1"]
    assert names(tmp_path, 2) == ["p-2", "p-3"]
    mine.send("enough")
    process.join(20)
    assert process.exitcode == 0

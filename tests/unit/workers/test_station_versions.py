"""The list of pools shows the libraries that trials run with, also where the worker has none of its own."""

from __future__ import annotations

import pytest

from hotfire_service.store import StoreSettings
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.station import Station


class WarmLater:
    """A warm process that has imported at the second look."""

    def __init__(self) -> None:
        self.num_looks = 0

    def health(self, timeout_s: float) -> dict | None:
        self.num_looks += 1
        return {"versions": {"python": "3.12.1", "deepspeed": "0.18.9"}} if self.num_looks > 1 else None


@pytest.fixture
def beats(tmp_path, monkeypatch):
    """Records of heartbeats, for a worker with this interpreter of the training environment."""

    def make(python):
        settings = WorkerSettings(cache_dir=tmp_path, device="cpu", python=python)
        station = Station(settings, StoreSettings(redis_url="redis://127.0.0.1:1/0"))
        station.services = [WarmLater()]
        sent = []

        class Ledger:
            worker_heartbeat = staticmethod(sent.append)

        monkeypatch.setattr(Station, "ledger", Ledger)
        for _ in range(3):
            station.heartbeat()
        return [record["versions"].get("deepspeed") for record in sent], station.services[0].num_looks

    return make


def test_the_training_environments_versions_once_they_are_known(beats):
    versions, num_looks = beats("/opt/train/bin/python")
    assert versions[1:] == ["0.18.9", "0.18.9"]
    assert num_looks == 2  # asked no more than needed


def test_a_worker_beside_its_libraries_asks_nobody(beats):
    versions, num_looks = beats(None)
    assert len(set(versions)) == 1
    assert num_looks == 0

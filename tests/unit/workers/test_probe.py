"""The health check of the worker's image."""

from __future__ import annotations

import os
import time

import pytest

from hotfire_service.store import StoreSettings
from hotfire_workers import probe
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.station import Station


@pytest.fixture
def station(tmp_path, monkeypatch):
    monkeypatch.setenv("HOTFIRE_WORKER_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("HOTFIRE_WORKER_DEVICE", "cpu")
    store = StoreSettings(redis_url="redis://127.0.0.1:1/0", redis_timeout_s=0.2)
    return Station(WorkerSettings(), store)


def test_alive_while_the_heart_beats_with_or_without_redis(station, tmp_path, capsys):
    assert probe.main([]) == 1
    assert "no worker has run" in capsys.readouterr().out
    station.heartbeat()
    assert probe.main([]) == 0
    (beat,) = tmp_path.glob("run/worker-*/alive")
    os.utime(beat, (time.time() - 121,) * 2)
    assert probe.main([]) == 1
    station.heartbeat()
    assert probe.main([]) == 0
    station.stop()
    assert probe.main([]) == 1


def test_the_youngest_of_several_counts(tmp_path):
    assert probe.age_s(tmp_path) is None
    for number, age in enumerate((500, 7)):
        file = tmp_path / f"run/worker-{number}/alive"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (time.time() - age,) * 2)
    assert 6.5 < probe.age_s(tmp_path) < 60

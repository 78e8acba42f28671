"""The server check of `hotfire doctor` against a server."""

from hotfire.doctor import server
from hotfire.doctor.check import State


def look():
    return list(next(p for p in server.PROBES if p.name == "server").look())


def test_a_server_with_and_without_a_worker(address, service, monkeypatch):
    monkeypatch.setenv("HOTFIRE_SERVER", address)
    (found,) = look()
    assert found.state is State.OK
    assert found.details["num_workers"] == 1
    service.num_workers = 0
    (found,) = look()
    assert found.state is State.WARNING
    assert "no worker is alive" in found.message

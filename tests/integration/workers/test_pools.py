"""Pools, their workers' life and death, and the side port: real worker processes, no trial."""

from __future__ import annotations

import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import psutil
import pytest
from worker_helpers import WorkerProcess, wait_for

from hotfire_service.store import Ledger, StoreSettings

#: ListPools tells the truth so soon after a worker's death.
TRUTH_S = 15.0


@pytest.fixture
def metrics_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def default_store(store_settings: StoreSettings) -> StoreSettings:
    """As an operator has it: the times are the defaults."""
    return StoreSettings(**(store_settings.model_dump() | {"lease_s": 20.0}))


@pytest.fixture
def start(default_store: StoreSettings, tmp_path) -> Callable[..., WorkerProcess]:
    made = []

    def make(*flags: str) -> WorkerProcess:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        # No warm process is needed here, and they take half a minute each to start.
        worker = WorkerProcess(default_store, folder, {}, ("--launcher", "cold", *flags))
        made.append(worker)
        return worker.start()

    yield make
    for worker in made:
        worker.end()


def get(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def pools(store: StoreSettings) -> dict[str, tuple[int, int]]:
    """Pool -> (workers, free slots): what ListPools answers with."""
    ledger = Ledger.connect(store)
    found = {pool.name: (pool.num_workers, pool.num_slots_free) for pool in ledger.pools()}
    ledger.close()
    return found


def test_the_list_of_pools_and_the_side_port_tell_the_truth(start, default_store, metrics_address):
    flags = ("--devices", "cpu", "--metrics-address", metrics_address)
    big = start("--pool", "big", "--slots", "3", *flags)
    small = start("--pool", "small", "--slots", "1", "--devices", "cpu")
    found = pools(default_store)
    assert (found["big"], found["small"]) == ((1, 3), (1, 1))
    assert f"metrics on {metrics_address}" in big.log
    assert get(metrics_address, "/livez") == (200, "ok")
    wait_for(lambda: get(metrics_address, "/readyz")[0] == 200, 10, "it is ready")
    assert 'hotfire_worker_slots{pool="big",state="free"} 3.0' in get(metrics_address, "/metrics")[1]

    # Killed as a whole: gone in time, the other one stays, and the port can be had again at once.
    everything = [psutil.Process(big.process.pid), *psutil.Process(big.process.pid).children(recursive=True)]
    os.kill(big.process.pid, signal.SIGKILL)
    began = time.monotonic()
    wait_for(lambda: pools(default_store)["big"] == (0, 0), TRUTH_S, "the dead worker is not listed")
    print(f"gone after {time.monotonic() - began:.1f} s")
    assert pools(default_store)["small"] == (1, 1)
    big.process.wait()
    gone = [psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD]
    wait_for(
        lambda: not any(p.is_running() and p.status() not in gone for p in everything), 10, "nothing is left"
    )
    again = start("--pool", "big", "--slots", "2", *flags)
    assert pools(default_store)["big"] == (1, 2)
    wait_for(lambda: get(metrics_address, "/readyz")[0] == 200, 10, "it is ready")

    # Stopped in order: gone at once.
    assert again.terminate() == 0
    assert pools(default_store)["big"] == (0, 0)
    with pytest.raises(urllib.error.URLError):
        get(metrics_address, "/livez")
    assert small.process.poll() is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--devices", "cuda"), "shows no GPU"),
        (("--devices", "0,1"), "HOTFIRE_WORKER_DEVICES"),
        (("--metrics-address", "localhost"), "HOST:PORT"),
        (("--slots", "0"), "SLOTS"),
    ],
)
def test_wrong_flags_are_one_line_and_exit_2(default_store, tmp_path, flags, message, capfd, monkeypatch):
    from hotfire_workers.__main__ import main

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(["--no-setup", *flags]) == 2
    errors = capfd.readouterr().err
    assert message in errors
    assert len(errors.splitlines()) == 1

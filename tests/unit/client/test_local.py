"""The embedded set, with stand-ins for the service and the worker: what is tested is that nothing is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hotfire.errors import LocalError, MissingExtraError, NoServerError
from hotfire.local import install, redis
from hotfire.local.processes import Child, descendants
from hotfire.local.stack import LocalStack, sweep

SERVICE = """
import os, sys, time
sys.path.insert(0, {tests!r})
import importlib.util, pathlib
spec = importlib.util.spec_from_file_location("fakes", {conftest!r})
fakes = importlib.util.module_from_spec(spec); spec.loader.exec_module(fakes)
from hotfire.v1 import preflight_pb2
server, port = fakes.start_server(fakes.FakeService(preflight_pb2.Preflight()))
print(f"hotfire-service ready on 127.0.0.1:{{port}}", flush=True)
time.sleep(600)
"""
# A worker with a child that left its session and its process group.
WORKER = """
import os, pathlib, subprocess, sys, time
stray = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path(os.environ["HOTFIRE_TEST_PIDS"]).write_text(f"{{os.getpid()}} {{stray.pid}}")
print("the worker says hello", flush=True)
time.sleep({seconds})
sys.exit("the worker cannot go on")
"""


@pytest.fixture
def houses(tmp_path, monkeypatch):
    """Stand-ins for `python -m hotfire_service` and `python -m hotfire_workers`."""
    here = Path(__file__).parent

    def build(worker_seconds: float = 600.0) -> Path:
        for name, text in (
            ("hotfire_service", SERVICE.format(tests=str(here), conftest=str(here / "conftest.py"))),
            ("hotfire_workers", WORKER.format(seconds=worker_seconds)),
        ):
            (tmp_path / "houses" / name).mkdir(parents=True)
            (tmp_path / "houses" / name / "__init__.py").touch()
            (tmp_path / "houses" / name / "__main__.py").write_text(text)
        return tmp_path / "pids"

    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "houses"))
    monkeypatch.setenv("HOTFIRE_TEST_PIDS", str(tmp_path / "pids"))
    monkeypatch.delenv("HOTFIRE_REDIS_URL", raising=False)
    return build


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pids, timeout_s=15.0) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if not any(is_alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def leftovers(cache: Path) -> list[str]:
    return [str(p) for p in cache.rglob("*") if p.is_file() or p.is_socket()]


def test_it_starts_serves_and_leaves_nothing(houses, tmp_path):
    pids = houses()
    said = []
    with LocalStack(roots=[tmp_path], say=said.append) as stack:
        assert stack.address.startswith("127.0.0.1:")
        assert stack.token
        assert stack.failure is None
        started = [int(pid) for pid in pids.read_text().split()]
        below = descendants(stack._process.pid)
        assert set(started) <= set(below)
        assert (stack.run_dir.stat().st_mode & 0o777) == 0o700
    assert said
    assert gone([*started, *below])
    assert leftovers(tmp_path / "cache") == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_survives_a_killed_parent(houses, tmp_path, number):
    pids = houses()
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom hotfire.local import LocalStack\n"
        "with LocalStack(roots=[]) as stack:\n    print(stack._process.pid, flush=True)\n    time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    supervisor = int(process.stdout.readline())
    everything = [supervisor, *descendants(supervisor), *map(int, pids.read_text().split())]
    assert len(set(everything)) >= 5  # supervisor, Valkey, service, worker, its stray child
    process.send_signal(number)
    process.wait(30)
    assert gone(everything)
    assert leftovers(tmp_path / "cache") == []


def test_a_killed_supervisor_takes_its_children_along(houses):
    pids = houses()
    with LocalStack(roots=[]) as stack:
        children = descendants(stack._process.pid)
        worker = int(pids.read_text().split()[0])
        os.kill(stack._process.pid, signal.SIGKILL)
        stray = int(pids.read_text().split()[1])
        assert gone([pid for pid in children if pid != stray])
        assert not is_alive(worker)
        os.kill(stray, signal.SIGKILL)  # what the real worker's guardian does
        assert "supervisor" in str(stack.failure)


def test_a_worker_that_dies_is_explained_with_its_last_words(houses, tmp_path):
    pids = houses(worker_seconds=2.0)
    with pytest.raises(LocalError) as raised, LocalStack(roots=[]) as stack:
        while stack.failure is None:
            time.sleep(0.05)
        raise stack.failure
    assert "worker ended with exit code 1" in str(raised.value)
    assert "the worker cannot go on" in str(raised.value)
    assert gone(map(int, pids.read_text().split()))


def test_a_service_that_does_not_start_is_explained(houses, tmp_path):
    houses()
    (tmp_path / "houses" / "hotfire_service" / "__main__.py").write_text("raise SystemExit('port is taken')")
    with (
        pytest.raises(LocalError, match="service ended with exit code 1:\n  port is taken"),
        LocalStack(roots=[]),
    ):
        pass
    assert leftovers(tmp_path / "cache") == []


def test_a_set_for_one_check_ignores_a_real_installations_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("HOTFIRE_SERVICE_PORT", "1")
    monkeypatch.setenv("HOTFIRE_STORE_REDIS_URL", "redis://production")
    monkeypatch.setenv("HOTFIRE_WORKER_DEVICE", "cpu")
    monkeypatch.setenv("HOTFIRE_REDIS_URL", "redis://shared")
    own = LocalStack(roots=[tmp_path])
    inherited = own._inherited()
    assert "HOTFIRE_SERVICE_PORT" not in inherited
    assert "HOTFIRE_STORE_REDIS_URL" not in inherited
    assert inherited["HOTFIRE_WORKER_DEVICE"] == "cpu"
    assert own._environment()["HOTFIRE_STORE_KEY_PREFIX"].startswith("hotfire-local-")
    assert str(tmp_path) in own._environment()["HOTFIRE_SERVICE_ALLOWED_ROOTS"]
    assert LocalStack(roots=[], shared=True)._inherited()["HOTFIRE_SERVICE_PORT"] == "1"
    assert LocalStack(roots=[], shared=True).token is None


@pytest.mark.parametrize("deep", [False, True])
def test_the_embedded_valkey(tmp_path, deep):
    folder = tmp_path / ("d" * 90 if deep else "d")
    folder.mkdir()
    server = redis.prepare(folder)
    assert server.url.startswith("redis://:" if deep else "unix://")
    child = Child("redis", server.command, env=dict(os.environ), log=folder / "log", cwd=folder)
    try:
        assert server.wait(10.0, is_alive=child.is_alive)
        assert ((folder / "redis.conf").stat().st_mode & 0o777) == 0o600
    finally:
        child.terminate()
        assert child.wait(5.0)
    assert not server.answers()


def test_without_any_redis_the_remedies_are_named(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(LocalError) as raised:
        redis.find_binary()
    for remedy in ("hotfire[local]", "apt-get install redis-server", "HOTFIRE_REDIS_URL"):
        assert remedy in str(raised.value)


def test_old_servers_are_passed_over(tmp_path):
    for version, good in (("6.0.16", False), ("6.2.0", True), ("7.0.15", True), ("9.1.2", True)):
        binary = tmp_path / f"redis-{version}"
        binary.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0'\n")
        binary.chmod(0o755)
        assert redis._is_new_enough(str(binary)) is good


def test_stale_folders_are_swept_and_others_are_not(tmp_path):
    import fcntl

    old, live, foreign = tmp_path / "old", tmp_path / "live", tmp_path / "foreign"
    for folder in (old, live, foreign):
        folder.mkdir()
    (old / "lock").touch()
    (live / "lock").touch()
    for folder in (old, live, foreign):
        os.utime(folder, (1, 1))
    with (live / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep(tmp_path)
    assert not old.exists()
    assert live.exists()
    assert foreign.exists()  # it has no lock of ours
    sweep(tmp_path / "none")


def test_missing_extras_are_named(monkeypatch):
    monkeypatch.setattr(install, "missing", lambda modules: [m for m in modules if m in ("celery", "torch")])
    with pytest.raises(NoServerError, match="no server"):
        install.require_installed("no server")
    for check, extra in (
        (install.require_installed, "local"),
        (install.require_service, "service"),
        (install.require_worker, "worker"),
    ):
        with pytest.raises(MissingExtraError, match=rf"celery.*hotfire\[{extra}\]"):
            check()
    monkeypatch.setattr(install, "missing", lambda modules: [m for m in modules if m == "torch"])
    with pytest.raises(MissingExtraError, match=r"torch.*hotfire\[local,train\]"):
        install.require_installed()

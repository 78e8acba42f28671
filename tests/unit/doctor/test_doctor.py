"""`hotfire doctor`: each check finds what it is for, leaves the healthy alone, and none hangs."""

import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from hotfire.cli import app
from hotfire.doctor import build, check, leftovers, libraries, machine, run, server, variables
from hotfire.doctor.check import Probe, State


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    for name in [n for n in os.environ if n.startswith(("HOTFIRE_", "TORCH_EXTENSIONS"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOTFIRE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "home").mkdir()


def look(module, name):
    """The checks of one probe."""
    return list(next(p for p in module.PROBES if p.name == name).look())


def one(module, name):
    (found,) = look(module, name)
    return found


def old(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - 600, time.time() - 600))
    return path


# --- running ------------------------------------------------------------------------------------------------


def test_a_check_that_hangs_is_given_up():
    hanging = Probe(name="slow", look=lambda: time.sleep(30) or [], limit_s=0.2)
    fine = Probe(name="fine", look=lambda: [check.ok("fine", "yes")])
    start = time.monotonic()
    slow, other = run.examine([hanging, fine])
    assert time.monotonic() - start < 5
    assert (slow.state, other.state) == (State.WARNING, State.OK)
    assert "no answer within 0.2 s" in slow.message


def test_a_check_that_breaks_is_told_and_does_not_take_the_others_with_it():
    broken, fine = run.examine(
        [Probe(name="bad", look=lambda: 1 / 0), Probe(name="fine", look=lambda: [check.ok("fine", "yes")])]
    )
    assert (broken.state, fine.state) == (State.WARNING, State.OK)
    assert "ZeroDivisionError" in broken.message


def test_whatever_is_wrong_has_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("HOTFIRE_SERVR", "x")
    old(tmp_path / "home/.cache/torch_extensions/py311_cpu/cpu_adam/lock")
    checks = run.examine()
    assert {c.name for c in checks} >= {p.name for p in run.PROBES} - {"extras", "disk", "variables"}
    assert all(c.remedy for c in checks if c.state in (State.PROBLEM, State.WARNING))
    assert run.worst(checks) is State.PROBLEM


def test_the_command(capsys, monkeypatch, tmp_path):
    assert app.run(["doctor", "--format", "json"]) in (0, 1)
    answer = json.loads(capsys.readouterr().out)
    states = {c["name"]: c["state"] for c in answer["checks"]}
    assert states["stale-locks"] == "ok"
    assert set(answer["checks"][0]) == {"name", "state", "message", "remedy", "details"}
    old(tmp_path / "home/.cache/torch_extensions/py311_cpu/cpu_adam/lock")
    assert app.run(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "stale-locks" in text
    assert "problem" in text


def test_torch_is_not_imported():
    code = (
        "import sys; from hotfire.cli import app; app.run(['doctor', '--format', 'json']); "
        "bad = {'torch', 'deepspeed', 'transformers'} & set(sys.modules); sys.exit(f'imported {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# --- libraries ----------------------------------------------------------------------------------------------


def test_python(monkeypatch):
    assert one(libraries, "python").state is State.OK
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    assert one(libraries, "python").state is State.PROBLEM


def test_extras(monkeypatch):
    monkeypatch.setattr(libraries, "missing", lambda modules: [m for m in modules if m == "torch"])
    states = {c.name: c for c in look(libraries, "extras")}
    assert states["extra-train"].state is State.PROBLEM
    assert states["extra-train"].remedy == "pip install 'hotfire[local,train]'"
    assert states["extra-cli"].state is State.OK
    # Where a server elsewhere does the work, none is needed.
    monkeypatch.setenv("HOTFIRE_SERVER", "host:1")
    assert {c.name: c.state for c in look(libraries, "extras")}["extra-train"] is State.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("deepspeed", "torch", "names"),
    [
        ("0.16.4", "2.6.0", ["double-buffer-swap", "ipg"]),
        ("0.17.6", "2.8.0+cu128", ["last-micro-batch-only"]),
        ("0.18.2", "2.10.0", ["stage3-waits-for-the-wrong-stream"]),
    ],
)
def test_known_bad_versions(monkeypatch, deepspeed, torch, names):
    monkeypatch.setattr(libraries, "versions", lambda: {"deepspeed": deepspeed, "torch": torch})
    found = one(libraries, "known-bad-versions")
    assert found.state is State.WARNING
    assert names[0] in {fault["id"] for fault in found.details["faults"]}
    assert "deepspeed>=" in found.remedy


def test_a_fault_of_another_torch_is_none(monkeypatch):
    monkeypatch.setattr(libraries, "versions", lambda: {"deepspeed": "0.18.2", "torch": "2.9.0"})
    found = one(libraries, "known-bad-versions")
    assert "stage3-waits-for-the-wrong-stream" not in {f["id"] for f in found.details["faults"]}


def test_known_good_versions(monkeypatch):
    monkeypatch.setattr(libraries, "versions", lambda: {"deepspeed": "0.19.8", "torch": "2.13.0"})
    assert one(libraries, "known-bad-versions").state is State.OK
    monkeypatch.setattr(libraries, "versions", dict)
    assert one(libraries, "known-bad-versions").state is State.NOT_APPLICABLE


def test_versions_too_old(monkeypatch):
    monkeypatch.setattr(libraries, "versions", lambda: {"deepspeed": "0.14.2", "torch": "2.13.0"})
    found = one(libraries, "versions")
    assert found.state is State.PROBLEM
    assert found.remedy == "pip install -U 'deepspeed>=0.15'"


def test_a_cpu_build_beside_a_gpu(monkeypatch):
    monkeypatch.setattr(libraries, "versions", lambda: {"torch": "2.13.0+cpu"})
    monkeypatch.setattr(machine, "has_nvidia_device", lambda: True)
    assert one(libraries, "torch-build").state is State.PROBLEM
    monkeypatch.setattr(machine, "has_nvidia_device", lambda: False)
    assert one(libraries, "torch-build").state is State.OK


# --- Redis and server ---------------------------------------------------------------------------------------


def _no_redis():
    raise server.LocalError("no Redis:\n  a  b")


def test_redis(monkeypatch):
    assert one(server, "redis-binary").state is State.OK
    monkeypatch.setattr(server.redis, "find_binary", _no_redis)
    found = one(server, "redis-binary")
    assert (found.state, found.remedy) == (State.PROBLEM, "a b")
    monkeypatch.setenv("HOTFIRE_REDIS_URL", "redis://:secret@host/0")
    found = one(server, "redis-binary")
    assert found.state is State.OK
    assert "secret" not in found.message


def test_a_broken_redis(monkeypatch, tmp_path):
    broken = tmp_path / "valkey-server"
    broken.write_text("#!/bin/sh\necho 'GLIBC_2.38 not found' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(server.redis, "find_binary", lambda: broken)
    found = one(server, "redis-binary")
    assert found.state is State.PROBLEM
    assert "GLIBC_2.38" in found.message


def test_server_that_is_not_there(monkeypatch):
    assert one(server, "server").state is State.NOT_APPLICABLE
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("HOTFIRE_SERVER", f"127.0.0.1:{port}")
    found = one(server, "server")
    assert found.state is State.PROBLEM
    assert "HOTFIRE_SERVER" in found.message
    monkeypatch.setenv("HOTFIRE_SERVER", "host:notaport")
    assert one(server, "server").state is State.PROBLEM


def test_server_that_accepts_and_says_nothing(monkeypatch):
    monkeypatch.setattr(server, "_ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HOTFIRE_SERVER", f"127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        assert one(server, "server").state is State.PROBLEM
        assert time.monotonic() - start < 5


# --- building -----------------------------------------------------------------------------------------------


def test_compiler_and_ninja(monkeypatch, tmp_path):
    assert one(build, "compiler").state is State.OK
    assert one(build, "ninja").state is State.OK
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert one(build, "compiler").state is State.PROBLEM
    assert one(build, "ninja").remedy == "pip install ninja"
    monkeypatch.setattr(build, "missing", list)
    assert one(build, "compiler").state is State.NOT_APPLICABLE


@pytest.mark.parametrize(
    "place",
    [
        "home/.cache/torch_extensions/py311_cu126/cpu_adam/lock",
        "home/.cache/torch_extensions/cpu_adam/lock",
        "given/fused_adam/lock",
        "cache/environments/0123/extensions/fused_adam/lock",
    ],
)
def test_stale_locks_of_ours_and_of_the_users(monkeypatch, tmp_path, place):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "given"))
    assert one(build, "stale-locks").state is State.OK
    lock = old(tmp_path / place)
    found = one(build, "stale-locks")
    assert found.state is State.PROBLEM
    assert found.remedy == f"rm {lock}"
    assert lock.exists()  # nothing is changed


def test_a_lock_that_a_build_holds_is_no_fault(tmp_path):
    lock = old(tmp_path / "home/.cache/torch_extensions/cpu_adam/lock")
    with lock.open():
        assert one(build, "stale-locks").state is State.OK
    assert one(build, "stale-locks").state is State.PROBLEM
    lock.touch()  # a young one may belong to somebody whose files we may not see
    assert one(build, "stale-locks").state is State.OK


# --- machine ------------------------------------------------------------------------------------------------


def test_disk(monkeypatch):
    usage = machine.shutil.disk_usage("/")
    for free, state in ((100 * 2**30, State.OK), (2 * 2**30, State.WARNING), (2**20, State.PROBLEM)):
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        assert {c.state for c in look(machine, "disk")} == {state}


def test_memory(monkeypatch):
    total, available = machine.memory()
    assert 0 < available <= total
    for free, state in ((64, State.OK), (3, State.WARNING), (1, State.PROBLEM)):
        monkeypatch.setattr(machine, "memory", lambda free=free: (128 * 2**30, free * 2**30))
        assert one(machine, "memory").state is state


def test_shared_memory(monkeypatch):
    usage = machine.shutil.disk_usage("/")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage._replace(free=64 * 2**20))
    found = one(machine, "shared-memory")
    assert found.state is State.WARNING
    assert "--shm-size" in found.remedy


def test_gpus(monkeypatch):
    gpu = {"name": "A100", "total": 80 * 2**30, "free": 79 * 2**30}
    answers = [
        ({"driver": "550", "gpus": [gpu]}, True, State.OK),
        ({"driver": "550", "gpus": [gpu | {"free": 2**30}]}, True, State.WARNING),
        ({"driver": "550", "gpus": []}, False, State.NOT_APPLICABLE),
        ("NVMLError_LibraryNotFound", False, State.NOT_APPLICABLE),
        ("no answer within 8 s", True, State.PROBLEM),
    ]
    for answer, device, state in answers:
        monkeypatch.setattr(machine, "_ask_driver", lambda answer=answer: answer)
        monkeypatch.setattr(machine, "has_nvidia_device", lambda device=device: device)
        assert one(machine, "gpus").state is state
    monkeypatch.setattr(machine, "missing", list)
    monkeypatch.setattr(machine, "has_nvidia_device", lambda: True)
    assert one(machine, "gpus").state is State.PROBLEM


def test_a_driver_that_hangs(monkeypatch):
    monkeypatch.setattr(machine, "_NVML", "import time; time.sleep(60)")
    monkeypatch.setattr(machine, "_ASK_S", 0.3)
    assert machine._ask_driver() == "no answer within 0.3 s"


# --- variables ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HOTFIRE_SERVR", "HOTFIRE_SERVER"),
        ("HOTFIRE_SERVICE_ALLOWED_ROOT", "HOTFIRE_SERVICE_ALLOWED_ROOTS"),
        ("HOTFIRE_WORKER_SLOT", "HOTFIRE_WORKER_SLOTS"),
        ("HOTFIRE_STORE_REDIS", "HOTFIRE_STORE_REDIS_URL"),
        ("HOTFIRE_BANANA", None),
    ],
)
def test_variables_that_nothing_reads(monkeypatch, name, meant):
    monkeypatch.setenv(name, "1")
    found = next(c for c in look(variables, "variables") if name in c.message)
    assert found.state is State.PROBLEM
    assert (f"did you mean {meant}?" in found.remedy) is (meant is not None)


def test_values_that_a_program_would_refuse(monkeypatch):
    monkeypatch.setenv("HOTFIRE_WORKER_DEVICE", "gpu")
    monkeypatch.setenv("HOTFIRE_SERVICE_PORT", "99999")
    monkeypatch.setenv("HOTFIRE_TLS", "maybe")
    found = [c.message for c in look(variables, "variables") if c.state is State.PROBLEM]
    assert {m.split(":")[0] for m in found} == {
        "HOTFIRE_WORKER_DEVICE",
        "HOTFIRE_SERVICE_PORT",
        "HOTFIRE_TLS",
    }


def test_variables_that_are_right(monkeypatch):
    monkeypatch.setenv("HOTFIRE_WORKER_SLOTS", "2")
    monkeypatch.setenv("HOTFIRE_SERVER", "host:1")
    assert {c.state for c in look(variables, "variables")} == {State.OK}


def test_a_program_that_is_not_installed_is_not_asked_for_its_settings(monkeypatch):
    monkeypatch.setattr(variables, "_programs", list)
    monkeypatch.setenv("HOTFIRE_WORKER_SLOTS", "2")
    assert {c.state for c in look(variables, "variables")} == {State.OK}


# --- leftovers ----------------------------------------------------------------------------------------------


@pytest.fixture
def slot_process(tmp_path):
    """A process that a dead slot of this cache left."""
    digest = hashlib.sha256(str(tmp_path / "cache").encode()).hexdigest()[:8]
    process = subprocess.Popen(["sleep", "60"], env=os.environ | {"HOTFIRE_SLOT": f"pool-0@{digest}.cold"})
    yield process
    process.kill()
    process.wait()


def test_processes_of_dead_slots(tmp_path, slot_process):
    found = one(leftovers, "leftover-processes")
    assert found.state is State.WARNING
    assert found.details["pids"] == [slot_process.pid]
    folder = tmp_path / "cache/run/pool-0"
    folder.mkdir(parents=True)
    hold = (
        "import fcntl,sys,time; f=open(sys.argv[1],'w'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); "
        "time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold, folder / "lock"], stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        found = one(leftovers, "leftover-processes")
        assert found.state is State.OK
        assert "1 belong to living slots" in found.message
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_sockets_that_nobody_listens_at(tmp_path, monkeypatch):
    folder = tmp_path / "cache/run/pool-0"
    folder.mkdir(parents=True)
    path = folder / "warm.sock"
    monkeypatch.chdir(folder)  # the kernel's limit on the length of a socket's path
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("warm.sock")
        listener.listen()
        monkeypatch.setattr(leftovers, "_answers", _answers_by_relative_name)
        assert one(leftovers, "leftover-sockets").state is State.OK
    found = one(leftovers, "leftover-sockets")
    assert found.state is State.WARNING
    assert str(path) in found.remedy


def _answers_by_relative_name(path):
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex("warm.sock") == 0


def test_run_folders_of_local_sets(tmp_path):
    dead = tmp_path / "cache/local/dead"
    dead.mkdir(parents=True)
    (dead / "lock").touch()
    assert one(leftovers, "leftover-folders").state is State.WARNING
    with (dead / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert one(leftovers, "leftover-folders").state is State.OK

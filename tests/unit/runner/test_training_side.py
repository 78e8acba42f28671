"""The parts of the warm process that need no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hotfire_workers.train import extensions, imports, launch, rehearsal
from hotfire_workers.train.imports import Environment


def make_lock(folder: Path, op: str = "my_op", age_s: float = 60.0) -> Path:
    lock = folder / op / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    os.utime(lock, (time.time() - age_s,) * 2)
    return lock


def test_a_lock_that_nobody_holds_is_stale(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    nested = make_lock(tmp_path / "py311_cpu")
    young = make_lock(tmp_path, "young_op", age_s=0)
    assert extensions.stale_locks(tmp_path) == sorted([lock, nested])
    assert young not in extensions.stale_locks(tmp_path)
    assert f"rm {lock}" in extensions.lock_message(lock)


def test_a_lock_of_a_living_build_is_not(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    with lock.open():
        assert extensions.is_held(lock)
        assert extensions.stale_locks(tmp_path) == []


def test_a_lock_that_died_with_its_request_is_removed_an_older_one_is_not(tmp_path: Path) -> None:
    older, ours, held = (make_lock(tmp_path, op, age_s=age) for op, age in (("a", 60), ("b", 0), ("c", 0)))
    with held.open():
        assert extensions.remove_left_locks(tmp_path, time.time() - 5) == [ours]
    assert older.exists()
    assert held.exists()


def test_an_op_behind_a_lock_is_not_built(tmp_path: Path) -> None:
    lock = make_lock(tmp_path)
    (tmp_path / "my_op" / "my_op.so").touch()
    assert not extensions.is_built(tmp_path, "my_op")
    lock.unlink()
    assert extensions.is_built(tmp_path, "my_op")


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("TORCH_EXTENSIONS_DIR", "HOTFIRE_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_an_environment_keeps_its_things_apart(tmp_path: Path, clean: pytest.MonkeyPatch) -> None:
    environment = Environment.current(tmp_path)
    assert environment.extensions == environment.folder / "extensions"
    assert environment.owns_extensions
    clean.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "theirs"))
    assert environment.extensions == tmp_path / "theirs"
    assert not environment.owns_extensions
    clean.setattr(imports, "versions", lambda: {"torch": "another"})
    assert Environment.current(tmp_path).key != environment.key


def test_the_list_grows_and_damage_is_no_obstacle(tmp_path: Path) -> None:
    environment = Environment("key", tmp_path)
    assert environment.learnt() == []
    environment.learn({"b", "a"})
    environment.learn({"c"})
    assert environment.learnt() == ["a", "b", "c"]
    environment.imports_file.write_text("{broken")
    assert environment.learnt() == []


def test_what_cannot_be_imported_is_passed_over() -> None:
    assert imports.import_all(["json", "no_such_module_x", "json.no_such_x"]) == [
        "no_such_module_x",
        "json.no_such_x",
    ]
    with pytest.raises(ImportError):
        imports.import_all(["no_such_module_x"], required=True)


def test_stale_locks_are_removed_in_our_folder_and_reported_elsewhere(
    tmp_path: Path, clean: pytest.MonkeyPatch
) -> None:
    clean.setenv("DS_ACCELERATOR", "none")  # no op is loaded
    environment = Environment("key", tmp_path)
    ours, theirs = make_lock(environment.extensions), make_lock(tmp_path / "theirs")
    report = rehearsal.preload_ops(environment, [tmp_path / "theirs"])
    assert not ours.exists()
    assert theirs.exists()
    assert report["extension_lock"] == str(theirs)
    assert len(report["notes"]) == 2


def test_entry_points() -> None:
    assert launch.load("json:dumps") is json.dumps
    with pytest.raises(ValueError, match="expected module:function"):
        launch.load("json.dumps")


_SETUP = """
import sys
from hotfire_workers.train import setup
try:
    setup.main()
finally:
    print("torch" in sys.modules)
"""


def _setup(cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _SETUP, "--cache-dir", str(cache)],
        env={**os.environ, "TORCH_EXTENSIONS_DIR": str(cache / "extensions"), "DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_setup_says_what_to_do_about_a_stale_lock(tmp_path: Path) -> None:
    lock = make_lock(tmp_path / "extensions")
    done = _setup(tmp_path)
    assert done.returncode == 1
    assert f"rm {lock}" in done.stdout
    assert "--unlock" in done.stdout


def test_setup_is_quick_when_done(tmp_path: Path) -> None:
    environment = Environment.current(tmp_path)
    environment.learn({"json"})
    shared_object = tmp_path / "extensions" / "op" / "op.so"
    shared_object.parent.mkdir(parents=True)
    shared_object.touch()
    record = {
        "ops": "comm",
        "built": {"op": None, "other": "no compiler"},
        "extensions": str(tmp_path / "extensions"),
    }
    (environment.folder / "setup.json").write_text(json.dumps(record))
    done = _setup(tmp_path)
    assert done.returncode == 0
    assert "is set up" in done.stdout
    assert done.stdout.split()[-1] == "False"  # torch was not imported


def test_exits_are_seen_without_being_collected(tmp_path: Path) -> None:
    code = """
import json, os, pathlib, signal, sys, time
from hotfire_workers.train.exits import ExitWatch
file = pathlib.Path(sys.argv[1])
with ExitWatch(file):
    pids = []
    for n in range(3):
        pid = os.fork()
        if pid == 0:
            time.sleep(0.05 * (n + 1))
            os.kill(os.getpid(), signal.SIGKILL) if n == 1 else os._exit(n)
        pids.append(pid)
    end = time.monotonic() + 5
    while not (file.is_file() and file.read_text().count("\\n") == 3) and time.monotonic() < end:
        time.sleep(0.01)
exits = [json.loads(line) for line in file.read_text().splitlines()]
assert [e["pid"] for e in exits] == pids, exits
assert [e["exit_code"] for e in exits] == [0, -9, 2], exits
assert exits[1]["signal"] == "SIGKILL"
for pid in pids:
    assert os.waitpid(pid, 0)[0] == pid
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "exits.jsonl")], check=True, timeout=30)


@pytest.mark.parametrize("given", ["/usr/bin:/bin", f"/usr/bin:{Path(sys.executable).parent}:/bin", None])
def test_the_interpreters_own_programs_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    """Else two ninjas of different versions compile one after the other, each anew."""
    for name in (*imports.SETTINGS, "TORCH_EXTENSIONS_DIR"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.delenv("PATH") if given is None else monkeypatch.setenv("PATH", given)
    Environment.current(tmp_path).apply()
    places = os.environ["PATH"].split(os.pathsep)
    assert places[0] == str(Path(sys.executable).parent)
    assert places.count(places[0]) == 1
    assert "/bin" in places

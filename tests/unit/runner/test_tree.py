from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from hotfire_workers.runner import tree


@pytest.fixture
def marker() -> str:
    return f"test-{uuid.uuid4().hex}"


def _sleeper(marker: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], env={**os.environ, tree.SLOT: marker}, start_new_session=True)


def test_sweep_kills_what_carries_the_marker_and_nothing_else(marker: str) -> None:
    ours, other = _sleeper(marker), _sleeper(marker + "0")
    try:
        assert [process.pid for process in tree.marked(marker)] == [ours.pid]
        assert tree.sweep(marker, timeout_s=0.2) == 1
        assert ours.wait(2) == -9
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()


def test_a_sweep_spares_itself_and_its_ancestors(marker: str) -> None:
    code = f"from hotfire_workers.runner import tree; print(tree.sweep({marker!r}))"
    done = subprocess.run(
        ["sh", "-c", f'{sys.executable} -c "$CODE"; echo alive'],
        env={**os.environ, tree.SLOT: marker, "CODE": code},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0", "alive"]


@pytest.fixture
def guardian(marker: str) -> Iterator[object]:
    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hotfire_workers.runner.guardian", "--marker", marker, "--", *command],
            env={**os.environ, tree.SLOT: marker},
            capture_output=True,
            text=True,
            timeout=30,
        )

    yield run
    tree.sweep(marker)


def test_the_guardian_passes_the_exit_code_on(guardian: object) -> None:
    assert guardian("sh", "-c", "exit 3").returncode == 3
    assert guardian("sh", "-c", "kill -9 $$").returncode == 137
    assert guardian("true").returncode == 0
    assert guardian().returncode == 2


def test_the_guardian_leaves_nothing_of_the_command(guardian: object, marker: str) -> None:
    assert guardian("sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & exit 0").returncode == 0
    assert tree.marked(marker) == []


def test_signal_names() -> None:
    assert [tree.signal_name(code) for code in (None, 0, 1, -9, -11, -200)] == [
        None, None, None, "SIGKILL", "SIGSEGV", "signal 200"
    ]  # fmt: skip

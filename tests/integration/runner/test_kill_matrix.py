"""Whoever is killed, no process of the trial is left, by the process table. The ranks are the worst ones:
they hear no SIGTERM, lead sessions of their own and have executed children in further sessions."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from slot_helpers import HERE, HOOKS, WORST, keepers, pids, trial_request, wait_for

from hotfire.rules.evidence import TrialOutcome
from hotfire_workers.runner.base import RunnerError
from hotfire_workers.runner.channel import Channel
from hotfire_workers.runner.service import WarmService
from hotfire_workers.runner.warm import WarmRunner

_GONE_S = 3.0
"""Measured below 0.3 s on a quiet machine."""
_TRIAL_SIZE = 5
"""Agent, two ranks, two grandchildren."""


class Running:
    """A trial that goes on for ever, in a thread."""

    def __init__(self, service: WarmService, run_dir: Path) -> None:
        self._before = keepers(service)
        self._marker = service.marker
        self.outcome: Any = None
        self._runner = WarmRunner(service.socket_path, hang_s=100)
        self._thread = threading.Thread(target=self._run, args=(run_dir,))
        self._thread.start()
        wait_for(lambda: len(pids(self._marker) - self._before) == _TRIAL_SIZE)
        self.pids = pids(self._marker) - self._before
        health = service.health()
        assert health is not None
        self.warm_pid = health["pid"]
        [self.agent_pid] = [c.pid for c in psutil.Process(self.warm_pid).children()]
        self.rank_pids = [c.pid for c in psutil.Process(self.agent_pid).children()]

    def _run(self, run_dir: Path) -> None:
        try:
            self.outcome = self._runner.run_trial(trial_request(run_dir, WORST))
        except RunnerError as error:
            self.outcome = error

    def wait_until_gone(self) -> None:
        wait_for(lambda: not self.pids & pids(self._marker), _GONE_S)
        self._thread.join(10)
        assert not self._thread.is_alive()


def test_client_hangs_up(shared_service: WarmService, tmp_path: Path) -> None:
    from hotfire_workers.runner.attend import lay_out

    before = keepers(shared_service)
    path = lay_out(trial_request(tmp_path, WORST))
    with Channel(shared_service.socket_path) as channel:
        channel.send(kind="trial", request=str(path))
        wait_for(lambda: len(pids(shared_service.marker) - before) == _TRIAL_SIZE)
    wait_for(lambda: pids(shared_service.marker) == before, _GONE_S)


def test_client_hangs_up_in_the_queue(shared_service: WarmService, tmp_path: Path) -> None:
    from hotfire_workers.runner.attend import lay_out

    first, second = (lay_out(trial_request(tmp_path / name, {"all": "sleep"})) for name in "ab")
    with Channel(shared_service.socket_path) as running:
        running.send(kind="trial", request=str(first))
        wait_for(lambda: (tmp_path / "a/events/rank0.jsonl").exists())
        with Channel(shared_service.socket_path) as queued:
            queued.send(kind="trial", request=str(second))
            wait_for(lambda: (shared_service.health() or {}).get("num_queued") == 1)
        wait_for(lambda: (shared_service.health() or {}).get("num_queued") == 0)
    wait_for(lambda: not (shared_service.health() or {"busy": True})["busy"])
    assert not (tmp_path / "b/agent.log").exists()


def test_kill_agent(shared_service: WarmService, tmp_path: Path) -> None:
    running = Running(shared_service, tmp_path)
    os.kill(running.agent_pid, signal.SIGKILL)
    running.wait_until_gone()
    assert isinstance(running.outcome, RunnerError)
    assert "agent was ended by signal 9" in str(running.outcome)


def test_kill_rank(shared_service: WarmService, tmp_path: Path) -> None:
    running = Running(shared_service, tmp_path)
    os.kill(running.rank_pids[1], signal.SIGKILL)
    wait_for(lambda: not running.pids & pids(shared_service.marker), 6)
    running.wait_until_gone()
    assert running.outcome.outcome is TrialOutcome.CRASHED
    assert running.outcome.error.rank == 1


def test_kill_warm_then_it_is_started_again(service: WarmService, tmp_path: Path) -> None:
    running = Running(service, tmp_path / "run")
    os.kill(running.warm_pid, signal.SIGKILL)
    running.wait_until_gone()
    assert isinstance(running.outcome, RunnerError)
    assert "went away" in str(running.outcome)
    wait_for(lambda: not pids(service.marker), _GONE_S)  # the guardian is gone too
    wait_for(lambda: not service.check(), 2)
    assert service.num_restarts == 1
    assert service.wait_ready()["pid"] != running.warm_pid
    assert WarmRunner(service.socket_path).run_trial(trial_request(tmp_path / "again")).completed


def test_kill_guardian(service: WarmService, tmp_path: Path) -> None:
    running = Running(service, tmp_path)
    assert service.guardian_pid is not None
    os.kill(service.guardian_pid, signal.SIGKILL)
    # Death signals take warm, agent and ranks. The grandchildren are left to the next guardian's sweep.
    wait_for(
        lambda: not {running.warm_pid, running.agent_pid, *running.rank_pids} & pids(service.marker), _GONE_S
    )
    wait_for(lambda: not service.check(), 2)
    running.wait_until_gone()
    service.wait_ready()


@contextmanager
def keeper(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that owns a warm service and nothing else, as a worker's main process does."""
    code = (
        "import sys, time; from hotfire_workers.runner.service import WarmService\n"
        f"with WarmService('kept', {str(folder)!r}, **{HOOKS!r}) as s:\n"
        "    s.wait_ready(); print('ready', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_kill_the_guardians_parent(tmp_path: Path) -> None:
    service = WarmService("kept", tmp_path / "cache", **HOOKS)  # same names; never started here
    with keeper(tmp_path / "cache") as parent:
        running = Running(service, tmp_path / "run")
        with pytest.raises(RunnerError, match="served by another process"):
            service.start()
        parent.kill()
        running.wait_until_gone()
        wait_for(lambda: not pids(service.marker), _GONE_S)


def test_kill_everything_at_once_then_the_next_start_sweeps(tmp_path: Path) -> None:
    service = WarmService("kept", tmp_path / "cache", **HOOKS)
    with keeper(tmp_path / "cache") as parent:
        running = Running(service, tmp_path / "run")
        [guardian] = psutil.Process(parent.pid).children()
        for pid in (guardian.pid, running.warm_pid, parent.pid):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not {running.agent_pid, *running.rank_pids} & pids(service.marker), _GONE_S)
    with service:
        running.wait_until_gone()


def test_kill_the_client_of_a_cold_trial(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from slot_helpers import *\n"
        "from hotfire_workers.runner.cold import ColdRunner\n"
        "from hotfire_workers.runner.environment import rank_environment\n"
        "environment = rank_environment(extra=HOOKS['env'])\n"
        "cold = ColdRunner(environment=environment, marker=sys.argv[3], entry=HOOKS['entry'])\n"
        "cold.run_trial(trial_request(Path(sys.argv[2]), WORST))\n"
    )
    marker = f"cold-test-{os.getpid()}"
    client = subprocess.Popen([sys.executable, "-c", code, str(HERE), str(tmp_path), marker])
    with contextlib.closing(_Killed(client)):
        # The guardian, torchrun, two ranks, two grandchildren.
        wait_for(lambda: len(pids(marker)) == _TRIAL_SIZE + 1, 60)
    wait_for(lambda: not pids(marker), _GONE_S)


class _Killed:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

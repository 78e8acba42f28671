"""What the end-to-end tests share: a service as a process that can be killed and come back, and the real CLI."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from worker_helpers import WorkerProcess, wait_for

from hotfire import Client
from hotfire.render import progress
from hotfire.v1 import preflight_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service.store import AsyncLedger, StoreSettings
from hotfire_service.store.keys import DEFAULT_TENANT, key_id

_PYTHON = sys.executable
_STAMP = re.compile(r"^\[ *[\d.]+s\] ", re.MULTILINE)
_MARK = "HOTFIRE_TEST_MARK"
#: The agent and two ranks.
_TRIAL_PROCESSES = 3


@dataclass
class ServiceProcess:
    """`python -m hotfire_service`; comes back on the port that it had."""

    store: StoreSettings
    folder: Path
    roots: list[Path]
    pools: list[str] = field(default_factory=list)
    address: str = "127.0.0.1:0"
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def start(self) -> ServiceProcess:
        env = os.environ | {
            "HOTFIRE_STORE_REDIS_URL": self.store.redis_url,
            "HOTFIRE_STORE_KEY_PREFIX": self.store.key_prefix,
            "HOTFIRE_STORE_ARTIFACTS_URL": self.store.artifacts_url,
            "HOTFIRE_STORE_LEASE_S": str(self.store.lease_s),
            "HOTFIRE_SERVICE_ALLOWED_ROOTS": ":".join(map(str, self.roots)),
            "HOTFIRE_SERVICE_POOLS": ":".join(self.pools),
            "HOTFIRE_SERVICE_SWEEP_S": "0.5",
        }
        host, _, port = self.address.rpartition(":")
        with (self.folder / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                [_PYTHON, "-m", "hotfire_service", "--host", host, "--port", port],
                env=env | self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "ready on" in line, line + (self.folder / "service.log").read_text()
        self.address = line.split()[-1]
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.communicate()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.communicate(timeout=15)
            self.process.kill()
            self.process.communicate()


@dataclass
class Command:
    """One run of `python -m hotfire`."""

    folder: Path
    mark: str
    process: subprocess.Popen[bytes]

    @property
    def out(self) -> str:
        return (self.folder / f"{self.mark}.out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / f"{self.mark}.err").read_text()

    @property
    def said(self) -> str:
        return f"--- stdout\n{self.out}\n--- stderr\n{self.err}"

    def code(self, timeout_s: float = 60) -> int:
        """Waits for its end."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the command hangs\n{self.said}") from None

    def until(self, text: str, timeout_s: float = 60) -> None:
        """Waits until it has said something."""
        wait_for(lambda: text in self.err or self.process.poll() is not None, timeout_s, f"{text!r} is said")
        assert text in self.err, self.said

    def alive(self) -> list[psutil.Process]:
        """Whatever it started, however deep, and is still there."""
        return marked(self.mark)


def run_cli(folder: Path, *arguments: str | Path, **env: str) -> Command:
    """Starts the CLI as a user would, with nothing of this machine's settings."""
    mark = uuid.uuid4().hex[:12]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HOTFIRE_")}
    with (folder / f"{mark}.out").open("wb") as out, (folder / f"{mark}.err").open("wb") as err:
        process = subprocess.Popen(
            [_PYTHON, "-m", "hotfire", *map(str, arguments)],
            env=inherited | {"HOTFIRE_CONFIG": os.devnull, _MARK: mark} | env,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    return Command(folder, mark, process)


def marked(mark: str) -> list[psutil.Process]:
    """The processes that inherited the mark, zombies not counted."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@dataclass
class Stack:
    """Service, worker, and what a user does with them."""

    store: StoreSettings
    folder: Path
    service: ServiceProcess
    worker: WorkerProcess

    def cli(self, *arguments: str | Path) -> Command:
        return run_cli(self.folder, *arguments, "--server", self.service.address)

    def client(self) -> Client:
        return Client(self.service.address)

    def find(self, label: str) -> str:
        """The id of the preflight with this label."""
        with self.client() as client:
            names = wait_for(
                lambda: [p.name for p in client.list_preflights(labels={"run": label})], 20, "it is accepted"
            )
        assert len(names) == 1
        return names[0].removeprefix("preflights/")

    def in_trial(self, name: str) -> list[psutil.Process]:
        """Waits for the ranks of its trial; returns them."""

        def ranks() -> list[psutil.Process]:
            preflight = self.get(name)
            assert preflight.state in (preflight_pb2.STATE_QUEUED, preflight_pb2.STATE_RUNNING), preflight
            found = self.worker.ranks() if preflight.progress.phase == "trial" else []
            return found if len(found) >= _TRIAL_PROCESSES else []

        return wait_for(ranks, 60, "its trial runs")

    def no_rank_after(self, ranks: list[psutil.Process], timeout_s: float) -> None:
        """Neither these nor any others live when the time is over."""
        end = time.monotonic() + timeout_s
        none_after(ranks, timeout_s)
        wait_for(lambda: not self.worker.ranks(), end - time.monotonic(), "no process of a trial is left")

    def get(self, name: str) -> preflight_pb2.Preflight:
        with self.client() as client:
            return client.get_preflight(name)

    def end(self, name: str, timeout_s: float = 90) -> preflight_pb2.Preflight:
        with self.client() as client:
            return client.wait_preflight(name, timeout_s)

    def events(self, name: str) -> list[service_pb2.WatchPreflightResponse]:
        """The ledger's events, straight from the store: no service, no client in between."""
        return stored_events(self.store, name)

    def lines(self, name: str) -> list[str]:
        """What a watching command must say: one line an event."""
        return [line for event in self.events(name) if (line := progress.describe(event))]


def stored_events(
    store: StoreSettings, name: str, tenant: str = DEFAULT_TENANT
) -> list[service_pb2.WatchPreflightResponse]:
    """The ledger's events of a preflight."""

    async def read() -> list[service_pb2.WatchPreflightResponse]:
        ledger = AsyncLedger.connect(store)
        found: list[service_pb2.WatchPreflightResponse] = []
        key, cursor = key_id(tenant, name), 0
        while True:
            events, has_gap = await ledger.events_after(key, cursor)
            assert not has_gap
            if not events:
                break
            for event in events:
                if event.is_terminal:
                    event.response.state.preflight.CopyFrom(await ledger.get(key))
                found.append(event.response)
            cursor = events[-1].cursor
        await ledger.aclose()
        return found

    return asyncio.run(read())


def event_lines(said: str) -> list[str]:
    """The event lines of a command, without their time."""
    return [_STAMP.sub("", line) for line in said.splitlines() if _STAMP.match(line)]


def none_after(processes: list[psutil.Process], timeout_s: float) -> None:
    """All of them end within the time."""
    end = time.monotonic() + timeout_s
    while alive := [p for p in processes if is_alive(p)]:
        assert time.monotonic() < end, f"alive after {timeout_s:g} s: {alive}"
        time.sleep(0.05)

"""What the tests of the worker share: jobs, and a worker as a process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from hotfire import spec as specs
from hotfire.v1 import spec_pb2
from hotfire_service.store import StoreSettings

EXAMPLES = Path(__file__).parents[3] / "examples"
START_S = 90.0


def wait_for(condition: Callable[[], object], timeout_s: float, what: str) -> object:
    """Polls until the condition is true; says what did not happen."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s:g} s: {what}")


def job(example: str, *overrides: str) -> spec_pb2.PreflightSpec:
    """An example as a message, its files by path."""
    return specs.load(EXAMPLES / example, overrides=overrides).message()


def long_job() -> spec_pb2.PreflightSpec:
    """Its first step takes minutes."""
    return job("glm4-healthy", "training.gradient_accumulation_steps=100000")


@dataclass
class WorkerProcess:
    """`python -m hotfire_workers`, with what the tests ask of its processes."""

    store: StoreSettings
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / "worker.log").read_text(errors="replace")

    def start(self) -> WorkerProcess:
        env = os.environ | {
            "HOTFIRE_STORE_REDIS_URL": self.store.redis_url,
            "HOTFIRE_STORE_KEY_PREFIX": self.store.key_prefix,
            "HOTFIRE_STORE_ARTIFACTS_URL": self.store.artifacts_url,
            "HOTFIRE_STORE_LEASE_S": str(self.store.lease_s),
            "HOTFIRE_WORKER_CACHE_DIR": str(self.folder / "cache"),
            "HOTFIRE_WORKER_ALLOWED_ROOTS": str(EXAMPLES),
            "HOTFIRE_WORKER_DEVICE": "cpu",
        }
        with (self.folder / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hotfire_workers", "--no-setup", *self.flags],
                env=env | self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(
            lambda: "ready: pool" in self.log or self.process.poll() is not None,
            START_S,
            "the worker is ready",
        )
        assert self.process.poll() is None, self.log
        return self

    def pool_child(self) -> psutil.Process:
        """The process that runs tasks: a direct child with the main process's own command line."""
        assert self.process is not None
        main = psutil.Process(self.process.pid)
        return next(p for p in main.children() if "hotfire_workers.runner" not in " ".join(p.cmdline()))

    def ranks(self) -> list[psutil.Process]:
        """Processes of a running trial: all that is below the warm process."""
        assert self.process is not None
        found: list[psutil.Process] = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            # Any of them may end while we look.
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = process.parent()
                if (
                    "hotfire_workers.train.warm" in _command(process)
                    and "hotfire_workers.train.warm" in _command(parent)
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    found += [p for p in (process, *process.children(recursive=True)) if p not in found]
        return [
            p for p in found if "hotfire_workers.runner.guardian" not in _command(_parent(p)) and _lives(p)
        ]

    def terminate(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def end(self) -> None:
        """Stops it; kills what does not stop."""
        if self.process is None:
            return
        try:
            main = psutil.Process(self.process.pid)
            everything = [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            everything = []
        if self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.terminate()
        for process in everything:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


def _command(process: psutil.Process | None) -> list[str]:
    try:
        return process.cmdline() if process is not None else []
    except psutil.NoSuchProcess:
        return []


def _parent(process: psutil.Process) -> psutil.Process | None:
    try:
        return process.parent()
    except psutil.NoSuchProcess:
        return None


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

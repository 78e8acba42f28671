"""The near end of the embedded set: starts the supervisor, waits until it serves, says why if not."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hotfire.config import cache_dir
from hotfire.errors import HotfireError, LocalError
from hotfire.local.supervisor import Order

_SERVE_S, _WORKER_S = 90.0, 300.0
_STOP_S = 25.0
_STALE_S = 60.0
POOL = "default"


class LocalStack:
    """Valkey, service and one worker, for as long as the `with` block lasts.

    Attributes:
        address: The service's "127.0.0.1:port".
        token: Its token; None for `up`, which anyone on this machine may use.
    """

    def __init__(
        self,
        *,
        roots: Iterable[Path],
        port: int = 0,
        shared: bool = False,
        env: dict[str, str] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepares; nothing is started yet.

        Args:
            roots: Folders that specs may name.
            port: Of the service; 0: any free one.
            shared: For `up`: no token, records are kept across restarts, the user's HOTFIRE_SERVICE_* and
                HOTFIRE_STORE_* apply. Otherwise: a set for one check, gone without a trace.
            env: More environment for service and worker.
            say: Is told what is going on.
        """
        self._roots = list(roots)
        self._port = port
        self._shared = shared
        self._more_env = env or {}
        self._say = say
        self.address = ""
        self.token = None if shared else secrets.token_urlsafe(24)
        self._process: subprocess.Popen[str] | None = None
        self._events: list[dict[str, Any]] = []
        self._reader: threading.Thread | None = None
        self._cache = cache_dir()
        self.run_dir = self._cache / "local" / secrets.token_hex(4)

    def __enter__(self) -> Self:
        """Starts everything and waits until the worker takes work.

        Raises:
            LocalError: Something does not start; the text has its last log lines.
        """
        try:
            self._start()
            self._wait_for_service()
            self._wait_for_worker()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops everything; an error that comes from a dead child says so."""
        failure = self.failure
        self.close()
        if failure is not None and isinstance(error, HotfireError):
            raise failure from error

    @property
    def failure(self) -> LocalError | None:
        """Why it does not run any more, if a part of it ended by itself."""
        for event in list(self._events):
            if event["event"] == "failed":
                code = event["exit_code"]
                how = f" ended with exit code {code}" if code is not None else " failed"
                log = "".join(f"\n  {line}" for line in event["log"])
                return LocalError(f"the embedded {event['name']}{how}:{log}")
        if self._process is not None and self._process.poll() is not None:
            return LocalError(f"the supervisor of the embedded set ended ({self._process.returncode})")
        return None

    def close(self) -> None:
        """Stops everything and waits until it is gone. May be called again."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            try:
                process.stdin.close()
            except BrokenPipeError:
                pass
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()  # its children get SIGTERM from the kernel
            process.wait()
        if self._reader is not None:
            self._reader.join(5.0)
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def _start(self) -> None:
        sweep(self._cache / "local")
        self.run_dir.mkdir(parents=True, mode=0o700)
        order = Order(
            run_dir=str(self.run_dir),
            port=self._port,
            env=self._environment(),
            redis_url=os.environ.get("HOTFIRE_REDIS_URL") or None,
            redis_data_dir=str(self._cache / "up" / "redis") if self._shared else None,
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hotfire.local.supervisor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._inherited(),
            text=True,
            # Ctrl-C in the terminal is ours to handle.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(order.to_json() + "\n")
        self._process.stdin.flush()
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stdout,), name="hotfire-local", daemon=True
        )
        self._reader.start()

    def _inherited(self) -> dict[str, str]:
        """Our environment; a set for one check must not pick up the settings of a real installation."""
        # The worker's side port is that of the installation's own worker, too.
        drop = (
            () if self._shared else ("HOTFIRE_SERVICE_", "HOTFIRE_STORE_", "HOTFIRE_WORKER_METRICS_ADDRESS")
        )
        return {k: v for k, v in os.environ.items() if not (drop and k.startswith(drop))}

    def _environment(self) -> dict[str, str]:
        roots = json.dumps([str(root) for root in self._roots])
        env = {
            "HOTFIRE_CACHE": str(self._cache),
            "HOTFIRE_SERVICE_ALLOWED_ROOTS": roots,
            "HOTFIRE_WORKER_ALLOWED_ROOTS": roots,
            "HOTFIRE_SERVICE_POOLS": json.dumps([POOL]),
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self.run_dir / "tmp"),
        }
        if self._shared:
            env.setdefault("HOTFIRE_STORE_ARTIFACTS_URL", str(self._cache / "artifacts"))
            return env | {k: v for k, v in os.environ.items() if k.startswith("HOTFIRE_")} | self._more_env
        env |= {
            "HOTFIRE_STORE_ARTIFACTS_URL": str(self.run_dir / "artifacts"),
            "HOTFIRE_STORE_SOFT_SHUTDOWN_S": "2",
            "HOTFIRE_SERVICE_TOKEN": self.token or "",
            "HOTFIRE_SERVICE_STOP_GRACE_S": "1",
        }
        if os.environ.get("HOTFIRE_REDIS_URL"):
            # In somebody's Redis: under names of our own, which expire soon.
            env["HOTFIRE_STORE_KEY_PREFIX"] = f"hotfire-local-{self.run_dir.name}:"
            env["HOTFIRE_STORE_RECORD_TTL_S"] = env["HOTFIRE_STORE_ARTIFACT_TTL_S"] = "3600"
        return env | self._more_env

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            try:
                self._events.append(json.loads(line))
            except json.JSONDecodeError:
                continue

    def _wait_for_service(self) -> None:
        self._say("starting Valkey, service and worker")
        end = time.monotonic() + _SERVE_S
        while True:
            serving = next((e for e in list(self._events) if e["event"] == "serving"), None)
            if serving is not None:
                self.address = serving["address"]
                return
            if failure := self.failure:
                raise failure
            if time.monotonic() > end:
                raise LocalError(f"the embedded service does not get ready within {_SERVE_S:.0f} s")
            time.sleep(0.02)

    def _wait_for_worker(self) -> None:
        from hotfire.client import Client

        self._say(
            "starting the worker (it imports torch, deepspeed and transformers once; the first time here it also "
            "builds an extension of DeepSpeed, which takes a minute)"
        )
        end = time.monotonic() + _WORKER_S
        with Client(self.address, token=self.token, tls=False) as client:
            while not any(pool.num_workers for pool in client.list_pools()):
                if failure := self.failure:
                    raise failure
                if time.monotonic() > end:
                    raise LocalError(f"the embedded worker does not get ready within {_WORKER_S:.0f} s")
                time.sleep(0.1)


def sweep(folder: Path) -> None:
    """Removes run folders that a killed supervisor left behind."""
    if not folder.is_dir():
        return
    for old in folder.iterdir():
        try:
            if time.time() - old.stat().st_mtime < _STALE_S:
                continue
            with (old / "lock").open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old, ignore_errors=True)
        except OSError:
            continue  # somebody's, or gone

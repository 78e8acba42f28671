"""`python -m hotfire.local.supervisor`: holds Valkey, service and worker, as long as its input is open.

The first line of its input is the order, JSON (`Order`). On its output stands one JSON object a line:

    {"event": "serving", "address": "127.0.0.1:50123"}
    {"event": "failed", "name": "worker", "exit_code": 1, "log": ["...", ...]}

When the input ends (our parent closed it, or is gone), on SIGTERM and SIGINT, or when one of the three ends,
everything is stopped and the run folder is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import selectors
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hotfire.errors import LocalError
from hotfire.local import redis
from hotfire.local.child import adopt_orphans
from hotfire.local.processes import Child, kill_descendants

_READY = re.compile(r"ready on (\S+)")
_REDIS_START_S, _SERVICE_START_S = 10.0, 60.0
_STOP_S = 8.0
_TICK_S = 0.05


@dataclass(kw_only=True, slots=True)
class Order:
    """What to start."""

    run_dir: str
    """A private folder, made and removed by us."""
    port: int = 0
    """Of the service on 127.0.0.1; 0: any free one."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment of service and worker."""
    redis_url: str | None = None
    """One that runs already."""
    redis_data_dir: str | None = None
    """Where Valkey keeps its data; None: nowhere."""

    def to_json(self) -> str:
        """As the input line."""
        return json.dumps(asdict(self))


class Supervisor:
    """Starts, watches and stops the three."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._run_dir = Path(order.run_dir)
        self._children: list[Child] = []
        self._stopping = False

    def run(self) -> int:
        """Until the input ends, a signal comes, or a child ends."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        adopt_orphans()
        try:
            with _locked(self._run_dir):
                try:
                    return self._serve()
                finally:
                    self._stop()
        except LocalError as error:
            _say({"event": "failed", "name": "redis", "exit_code": None, "log": [error.message]})
            return 1
        except Exception as error:  # noqa: BLE001 - there is no other place to say it
            _say({"event": "failed", "name": "supervisor", "exit_code": None, "log": [repr(error)]})
            return 1
        finally:
            shutil.rmtree(self._run_dir, ignore_errors=True)

    def _serve(self) -> int:
        url = self._order.redis_url or self._start_redis()
        env = os.environ | self._order.env | {"HOTFIRE_STORE_REDIS_URL": url}
        (self._run_dir / "tmp").mkdir(exist_ok=True)
        python = sys.executable
        port = str(self._order.port)
        service = self._start(
            "service", [python, "-m", "hotfire_service", "--host", "127.0.0.1", "--port", port], env
        )
        self._start("worker", [python, "-m", "hotfire_workers"], env)
        address = self._wait_for_service(service)
        if address is not None:
            _say({"event": "serving", "address": address})
        while self._goes_on():
            pass
        return 1 if self._report_ended() else 0

    def _start_redis(self) -> str:
        data_dir = self._order.redis_data_dir
        if data_dir is not None:
            Path(data_dir).mkdir(parents=True, exist_ok=True)
        server = redis.prepare(self._run_dir, data_dir=Path(data_dir) if data_dir else None)
        child = self._start("redis", server.command, dict(os.environ))
        if not server.wait(_REDIS_START_S, is_alive=child.is_alive):
            raise LocalError("\n".join(["Valkey does not start:", *child.last_lines()]))
        return server.url

    def _start(self, name: str, command: list[str], env: dict[str, str]) -> Child:
        child = Child(name, command, env=env, log=self._run_dir / f"{name}.log", cwd=self._run_dir)
        self._children.append(child)
        return child

    def _wait_for_service(self, service: Child) -> str | None:
        end = time.monotonic() + _SERVICE_START_S
        while self._goes_on():
            for line in service.last_lines():
                if match := _READY.search(line):
                    return match[1]
            if time.monotonic() > end:
                log = ["the service does not get ready", *service.last_lines()]
                _say({"event": "failed", "name": "service", "exit_code": None, "log": log})
                self._stopping = True
        return None

    def _goes_on(self) -> bool:
        """Waits a moment; False if it is time to stop."""
        if self._stopping or any(not child.is_alive() for child in self._children):
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
            if selector.select(_TICK_S) and not os.read(sys.stdin.fileno(), 4096):
                self._stopping = True
        return not self._stopping

    def _report_ended(self) -> bool:
        """Says which child ended by itself; False if none did."""
        if self._stopping:
            return False
        for child in self._children:
            if not child.is_alive():
                _say(
                    {
                        "event": "failed",
                        "name": child.name,
                        "exit_code": child.exit_code,
                        "log": child.last_lines(),
                    }
                )
        return True

    def _stop(self) -> None:
        """Worker and service first, side by side; Valkey, which they still write to, last."""
        (*redis_child,) = (c for c in self._children if c.name == "redis")
        others = [c for c in self._children if c.name != "redis"]
        end = time.monotonic() + _STOP_S
        for group in (others, redis_child):
            for child in group:
                child.terminate()
            for child in group:
                child.wait(max(0.1, end - time.monotonic()))
                child.kill_group()
        kill_descendants(os.getpid())

    def _on_signal(self, _number: int, _frame: Any) -> None:
        self._stopping = True


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock: a folder whose lock is free belongs to nobody and may be swept."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _say(event: dict[str, Any]) -> None:
    try:
        print(json.dumps(event), flush=True)
    except (BrokenPipeError, OSError):
        pass  # our parent is gone; the input's end will tell


def main() -> int:
    """Reads the order and carries it out."""
    # Unbuffered, because the lifeline is watched through the file descriptor.
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(sys.stdin.fileno(), 1)
        if not piece:
            return 0
        line += piece
    return Supervisor(Order(**json.loads(line))).run()


if __name__ == "__main__":
    sys.exit(main())

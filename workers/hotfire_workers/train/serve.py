"""The warm process's loop: one request at a time, each in a forked child that lives as long as its socket.

Protocol, one JSON object a line. The client sends {"kind": "trial" or "prepare", "request": path of a file}
or {"kind": "health"}. The server answers {"ev": "started", "pid"} when the child is forked and {"ev": "done",
"status", "num_killed", "seconds"} when its tree is gone; {"ev": "health", ...}; {"ev": "refused", "text"}. A
client that closes its end takes its request with it, running or queued.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotfire_workers.train import elastic, extensions, launch, preparation, processes, rankguard

_MAX_LINE_BYTES = 64 * 1024


@dataclass(eq=False)
class _Client:
    """One connection and its request."""

    connection: socket.socket
    buffer: bytearray = field(default_factory=bytearray)
    kind: str | None = None
    request: str | None = None
    pid: int | None = None
    started: float = 0.0
    """Monotonic."""
    started_at: float = 0.0
    """Wall clock."""

    def send(self, **message: Any) -> None:
        """Answer; a client that has gone is noticed by its end of file, not here."""
        with contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(message).encode() + b"\n")


class Server:
    """Serves the listening socket for ever.

    Args:
        listener: A bound, listening unix socket.
        facts: What a health request answers.
        entry: What a trial's ranks run, `module:function`.
        prepare: What a preparation runs. Neither can be named by a client.
    """

    def __init__(
        self,
        listener: socket.socket,
        facts: dict[str, Any],
        *,
        entry: str = launch.ENTRY,
        prepare: str = launch.PREPARE,
    ) -> None:
        self._listener = listener
        self._facts = facts
        self._entry = entry
        self._prepare = prepare
        self._clients: set[_Client] = set()
        self._queue: deque[_Client] = deque()
        self._running: _Client | None = None
        self._num_served = 0
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()

    def run(self) -> None:
        """Serve until killed."""
        self._listener.setblocking(False)
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select(1.0):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._wake:
                    with contextlib.suppress(BlockingIOError):
                        self._wake.recv(4096)
                else:
                    self._read(key.data)
            self._collect(processes.reap())
            self._start_next()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(True)
            client = _Client(connection)
            self._clients.add(client)
            self._selector.register(connection, selectors.EVENT_READ, client)

    def _read(self, client: _Client) -> None:
        try:
            received = client.connection.recv(65536)
        except OSError:
            received = b""
        if not received:
            self._drop(client)
            return
        client.buffer += received
        line, newline, rest = bytes(client.buffer).partition(b"\n")
        if not newline and len(client.buffer) > _MAX_LINE_BYTES:
            client.send(ev="refused", text=f"a request line is at most {_MAX_LINE_BYTES} bytes")
            self._drop(client)
        elif newline:
            client.buffer = bytearray(rest)
            self._take(client, line)

    def _take(self, client: _Client, line: bytes) -> None:
        try:
            message = json.loads(line)
            kind, request = message["kind"], message.get("request")
        except (ValueError, KeyError, TypeError, AttributeError):
            client.send(ev="refused", text="expected one JSON object a line, with `kind`")
            return
        if kind == "health":
            client.send(
                ev="health",
                **self._facts,
                num_served=self._num_served,
                num_queued=len(self._queue),
                busy=self._running is not None,
            )
        elif kind not in {"trial", "prepare"}:
            client.send(ev="refused", text=f"kind {kind!r}: expected health, prepare or trial")
        elif client.kind is not None:
            client.send(ev="refused", text="one request a connection")
        elif not isinstance(request, str) or not Path(request).is_file():
            client.send(ev="refused", text=f"request {request!r}: expected the path of a file")
        else:
            client.kind, client.request = kind, request
            self._queue.append(client)

    def _drop(self, client: _Client) -> None:
        """The client is gone, or done with: so is its request."""
        self._selector.unregister(client.connection)
        client.connection.close()
        self._clients.discard(client)
        if client in self._queue:
            self._queue.remove(client)
        if client is self._running:
            self._running = None
            processes.kill_descendants()
            _unlock_extensions(client.started_at)

    def _collect(self, ended: dict[int, int]) -> None:
        """If the request's child has ended: kill what it left behind, answer."""
        client = self._running
        if client is None or client.pid not in ended:
            return
        self._running = None
        self._num_served += 1
        num_killed, _ = processes.kill_descendants()
        _unlock_extensions(client.started_at)
        client.send(
            ev="done",
            status=ended[client.pid],
            num_killed=num_killed,
            seconds=round(time.monotonic() - client.started, 4),
        )
        self._drop(client)

    def _start_next(self) -> None:
        while self._running is None and self._queue:
            client = self._queue.popleft()
            if _is_gone(client.connection):
                self._drop(client)
                continue
            client.started, client.started_at = time.monotonic(), time.time()
            sys.stdout.flush()
            sys.stderr.flush()
            warm_pid = os.getpid()
            client.pid = os.fork()
            if client.pid == 0:
                self._be_child(client, warm_pid)
            self._running = client
            client.send(ev="started", pid=client.pid)

    def _be_child(self, client: _Client, warm_pid: int) -> None:
        """In the forked child: let go of everything of the parent's, do the request, end. Never returns."""
        status = 1
        try:
            processes.die_with_parent(warm_pid)
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            rankguard.default_signals()
            self._selector.close()
            for inherited in (
                self._listener,
                self._wake,
                self._waker,
                *(c.connection for c in self._clients),
            ):
                inherited.close()
            assert client.request is not None
            status = do(client.kind, client.request, self._entry, self._prepare)
        except BaseException:  # noqa: BLE001  nothing may unwind into the server's loop
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)


def _is_gone(connection: socket.socket) -> bool:
    """The client has closed its end while it was queued."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _unlock_extensions(since: float) -> None:
    """A rank killed while it built an extension leaves a lock that every later one would wait for."""
    folder = os.environ.get("TORCH_EXTENSIONS_DIR")
    for lock in extensions.remove_left_locks(Path(folder), since) if folder else ():
        print(f"removed {lock}, left by a build that was killed", flush=True)


def do(kind: str | None, request_path: str, entry: str = launch.ENTRY, prepare: str = launch.PREPARE) -> int:
    """In the child: move into the run directory and do the request. Returns the exit status."""
    request = json.loads(Path(request_path).read_text())
    folder = Path(request["run_dir"] if kind == "trial" else request["out_dir"])
    private_temporary_folder = folder / "tmp"
    private_temporary_folder.mkdir(parents=True, exist_ok=True)
    _log_to(folder / ("agent.log" if kind == "trial" else "prepare.log"))
    os.environ["TMPDIR"] = str(private_temporary_folder)
    tempfile.tempdir = None
    os.environ.update(request.get("env") or {})
    os.chdir(folder)
    if kind == "trial":
        return elastic.run_agent(request, request_path, entry)
    return preparation.run(request_path, prepare)


def _log_to(path: Path) -> None:
    """Standard input from nowhere, both outputs into `path`."""
    nowhere = os.open(os.devnull, os.O_RDONLY)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((nowhere, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nowhere)
    os.close(log)

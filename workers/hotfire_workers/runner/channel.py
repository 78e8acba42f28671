"""The client's end of the warm process's socket (protocol: `hotfire_workers.train.serve`)."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, Self


class Channel:
    """One connection. Closing it kills the request, which is why it is used in a `with` block only.

    Args:
        path: The warm process's socket.

    Raises:
        OSError: Nobody listens there.
    """

    def __init__(self, path: str | Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._buffer = bytearray()
        self.closed_by_peer = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def send(self, **message: Any) -> None:
        """Send one message. A peer that has gone is noticed by `receive`."""
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.closed_by_peer = True

    def receive(self, timeout_s: float) -> list[dict[str, Any]]:
        """Whole messages that arrive within `timeout_s`; returns as soon as one is there."""
        self._socket.settimeout(max(timeout_s, 0.001))
        try:
            received = self._socket.recv(65536)
        except TimeoutError:
            return []
        except OSError:
            received = b""
        if not received:
            self.closed_by_peer = True
            return []
        self._buffer += received
        *lines, rest = bytes(self._buffer).split(b"\n")
        self._buffer = bytearray(rest)
        return [json.loads(line) for line in lines if line]


def health(path: str | Path, timeout_s: float = 1.0) -> dict[str, Any] | None:
    """Ask the warm process how it is. None: it does not answer (it may still be importing)."""
    try:
        with Channel(path) as channel:
            channel.send(kind="health")
            messages = channel.receive(timeout_s)
    except OSError:
        return None
    return messages[0] if messages else None

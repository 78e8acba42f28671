"""The plain HTTP side port of service and worker: `/metrics`, `/livez`, `/readyz`. Here, where both houses meet.

It shows numbers, never the text of a row, a token or an address of the store.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

#: None: well; else why not.
Check = Callable[[], str | None]

_REQUEST_S = 10.0


class AddressError(ValueError):
    """The address cannot be listened on; the text says which and why."""


def listen(address: str, *, setting: str) -> socket.socket:
    """A listening socket.

    Args:
        address: "HOST:PORT", "[::1]:PORT"; port 0 means any free one.
        setting: Where the address was set, for the error's text.

    Raises:
        AddressError: It is no address, or cannot be had.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise AddressError(f"{setting}: {address!r} is not HOST:PORT, as 127.0.0.1:9464")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family)
    except OSError as error:
        raise AddressError(f"{setting}: cannot listen on {address}: {error.strerror or error}") from None


def name_of(listening: socket.socket) -> str:
    """host:port of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Endpoint:
    """Serves from a thread of its own, until `close`.

    Args:
        listening: A listening socket; it is closed with the endpoint.
        registry: What `/metrics` shows.
        live: For `/livez`.
        ready: For `/readyz`.
    """

    def __init__(
        self, listening: socket.socket, registry: CollectorRegistry, *, live: Check, ready: Check
    ) -> None:
        self.address = name_of(listening)
        self._server = ThreadingHTTPServer(
            listening.getsockname()[:2], _handler(registry, live, ready), bind_and_activate=False
        )
        self._server.daemon_threads = True
        self._server.socket.close()
        self._server.socket = listening
        self._thread = threading.Thread(target=self._server.serve_forever, name="endpoint", daemon=True)

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def close(self) -> None:
        """Ends."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


def _handler(registry: CollectorRegistry, live: Check, ready: Check) -> type[BaseHTTPRequestHandler]:
    checks = {"/livez": live, "/readyz": ready}

    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_S
        """Of a client that connects and says nothing."""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif path in checks:
                why = checks[path]()
                self._answer(200 if why is None else 503, "text/plain; charset=utf-8", (why or "ok").encode())
            else:
                self._answer(404, "text/plain; charset=utf-8", b"/metrics, /livez, /readyz")

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' name
            """A scrape is no news."""

    return Handler

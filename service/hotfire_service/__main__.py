"""`python -m hotfire_service`: the service, until SIGTERM or SIGINT.

When it serves, it prints one line on stdout that other programs can wait for:

    hotfire-service ready on 127.0.0.1:50051

Logs go to stderr. Exit codes: 0 stopped, 2 a setting or the address is wrong.

`python -m hotfire_service token ...` (`hotfire serve token ...`) makes and lists tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from typing import Any

from pydantic import ValidationError

from hotfire_service import logs, tokens_cli
from hotfire_service.server import BindError, Server
from hotfire_service.settings import CONFIG_VARIABLE, ServiceSettings
from hotfire_service.store.settings import StoreSettings
from hotfire_service.tls import CertificateError
from hotfire_service.tokens import TokenFileError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hotfire_service",
        description="The Hotfire service. Every setting is also an environment variable HOTFIRE_SERVICE_*. "
        "`hotfire serve token new` makes a token for --tokens-file.",
    )
    parser.add_argument("--config", metavar="FILE", help=f"TOML file with settings ({CONFIG_VARIABLE})")
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port (50051); 0: any free one")
    parser.add_argument("--redis-url", help="redis://, rediss:// or unix:// address of Redis or Valkey")
    parser.add_argument("--artifacts-url", help="directory shared with the workers, or an fsspec address")
    parser.add_argument(
        "--allow-root",
        dest="allowed_roots",
        action="append",
        metavar="DIR",
        help="folder below which specs may name paths; can be repeated",
    )
    parser.add_argument("--tokens-file", metavar="FILE", help="tokens, hashed (hotfire serve token new)")
    parser.add_argument("--tls-cert-file", metavar="FILE", help="PEM: certificate and chain")
    parser.add_argument("--tls-key-file", metavar="FILE", help="PEM: its private key")
    parser.add_argument(
        "--tls-client-ca-file", metavar="FILE", help="PEM: clients must show a certificate of this authority"
    )
    parser.add_argument(
        "--allow-insecure",
        action="store_const",
        const=True,
        help="listen beyond loopback without token or TLS: only behind something that does both",
    )
    parser.add_argument("--health", choices=["open", "closed"], help="closed: health checks want a token")
    parser.add_argument(
        "--reflection", choices=["open", "closed", "off"], help="closed: reflection wants a token"
    )
    parser.add_argument(
        "--metrics-address", metavar="HOST:PORT", help="plain HTTP for /metrics, /livez, /readyz (off)"
    )
    parser.add_argument("--default-pool", help="pool of a spec that names none")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"])
    parser.add_argument("--log-format", choices=["json", "console"])
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the service.

    Args:
        argv: Flags; default: the command line.

    Returns:
        The exit code.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["token"]:
        return tokens_cli.main(argv[1:])
    flags = vars(_parser().parse_args(argv))
    if config := flags.pop("config"):
        os.environ[CONFIG_VARIABLE] = config
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = ServiceSettings(**given)
        store = settings.store()
    except (ValidationError, ValueError) as error:
        print(_explain(error), file=sys.stderr)
        return 2
    # A line of grpc's own for every scanner that knocks is no log of ours.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    logs.configure(settings.log_level, settings.log_format)
    try:
        asyncio.run(_serve(settings, store))
    except (BindError, TokenFileError, CertificateError, OSError) as error:
        print(f"hotfire-service: {error}", file=sys.stderr)
        return 2
    return 0


def _explain(error: Exception) -> str:
    """One line per wrong setting: name, value, what is wrong."""
    if not isinstance(error, ValidationError):
        return f"hotfire-service: {error}"
    lines = []
    for item in error.errors(include_url=False):
        name = ".".join(str(part) for part in item["loc"]) or "settings"
        lines.append(f"hotfire-service: {name}: {item['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


async def _serve(settings: ServiceSettings, store: StoreSettings) -> None:
    server = Server(settings, store)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with server:
        print(f"hotfire-service ready on {server.address}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())

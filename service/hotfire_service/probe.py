"""`python -m hotfire_service.probe`: is the service on this machine well? For container health checks.

It asks `grpc.health.v1.Health` with the service's own settings (`HOTFIRE_SERVICE_*`): the same address, and TLS where
the service speaks TLS. `--service ""` (default): the process lives. `--service hotfire.v1.PreflightService`: Redis
answers. `--service workers`: at least one worker is there. Exit code 0: SERVING; 1: not; 2: a setting is wrong.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import ValidationError

from hotfire_service.settings import ServiceSettings

LISTENING = "LISTENING"
"""All that can be told of a service that wants certificates of its clients."""
_TIMEOUT_S = 4.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}  # noqa: S104 - not bound, but asked at the loopback
#: The generated code has no annotations.
_health: Any = health_pb2_grpc


def ask(settings: ServiceSettings, service: str = "", *, timeout_s: float = _TIMEOUT_S) -> str:
    """The status of `service`, by name.

    Args:
        settings: Of the service.
        service: Name of a health service.
        timeout_s: Patience.

    Returns:
        `SERVING`, `NOT_SERVING`, ..., or `LISTENING`, or `UNREACHABLE: ` with the reason.
    """
    host = _ANY.get(settings.host, settings.host).strip("[]")
    address = f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"
    if settings.tls_client_ca_file is not None:
        # Only a client with a certificate gets further, and the service has none of its own.
        return _shows_a_certificate(host, settings.port, timeout_s)
    try:
        with _channel(settings, host, address, timeout_s) as channel:
            request = health_pb2.HealthCheckRequest(service=service)
            answer = _health.HealthStub(channel).Check(request, timeout=timeout_s)
    except grpc.RpcError as error:
        return f"UNREACHABLE: {error.code().name}: {error.details()}"
    except OSError as error:
        return f"UNREACHABLE: {error}"
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def _channel(settings: ServiceSettings, host: str, address: str, timeout_s: float) -> grpc.Channel:
    options: list[tuple[str, Any]] = [("grpc.enable_http_proxy", 0)]
    if not settings.uses_tls:
        return grpc.insecure_channel(address, options)
    # Who the service says it is matters to clients; here it is asked on its own machine. The certificate that it shows
    # is trusted as it is, under a name that stands in it.
    shown = ssl.get_server_certificate((host, settings.port), timeout=timeout_s)
    if (name := _name_in(shown, host, settings.port, timeout_s)) is not None:
        options.append(("grpc.ssl_target_name_override", name))
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(shown.encode()), options)


def _name_in(certificate: str, host: str, port: int, timeout_s: float) -> str | None:
    """A name or address that a certificate is for. `ssl` decodes only what it has verified, hence the handshake."""
    context = ssl.create_default_context(cadata=certificate)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with (
        socket.create_connection((host, port), timeout=timeout_s) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        decoded: dict[str, Any] = secured.getpeercert() or {}
    return next((value for _, value in decoded.get("subjectAltName", ())), None)


def _shows_a_certificate(host: str, port: int, timeout_s: float) -> str:
    try:
        ssl.get_server_certificate((host, port), timeout=timeout_s)
    except OSError as error:
        return f"UNREACHABLE: {error}"
    return LISTENING


def main(argv: list[str] | None = None) -> int:
    """The command line.

    Args:
        argv: Flags; default: the command line.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m hotfire_service.probe", description=__doc__)
    parser.add_argument("--service", default="", help="name of a health service (the process itself)")
    parser.add_argument("--timeout", type=float, default=_TIMEOUT_S, metavar="SECONDS")
    arguments = parser.parse_args(argv)
    try:
        settings = ServiceSettings()
    except (ValidationError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    status = ask(settings, arguments.service, timeout_s=arguments.timeout)
    print(status)
    return 0 if status in ("SERVING", LISTENING) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Channels: retries, keepalive, message limits, TLS and the token."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from hotfire import __version__
from hotfire.config import Settings
from hotfire.errors import NoServerError, SettingsError

DEADLINE_S = 15.0
"""Default deadline of a unary call."""
_MAX_MESSAGE_BYTES = 32 * 2**20

# AIP-194: only UNAVAILABLE is retried by itself. Every unary call of ours is safe to repeat (CreatePreflight
# carries a request_id); a stream is only retried before its first message, `_watch` does the rest.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "hotfire.v1.PreflightService"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.2s",
                "maxBackoff": "3s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        },
        # The watch loop has its own back-off, and the upload's stream cannot be replayed from a buffer.
        {
            "name": [
                {"service": "hotfire.v1.PreflightService", "method": "WatchPreflight"},
                {"service": "hotfire.v1.PreflightService", "method": "UploadArtifact"},
            ]
        },
    ]
}


def is_loopback(address: str) -> bool:
    """Whether an address is on this machine: localhost, 127.0.0.0/8, ::1 or a unix socket."""
    if address.startswith("unix:"):
        return True
    for prefix in ("dns:", "ipv4:", "ipv6:"):
        address = address.removeprefix(prefix)
    host = address.lstrip("/").rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def options(address: str) -> list[tuple[str, Any]]:
    """Channel arguments. The server must permit pings this often (its minimum is set to 20 s)."""
    result: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        ("grpc.enable_retries", 1),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 15_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.primary_user_agent", f"hotfire-python/{__version__}"),
    ]
    if is_loopback(address):
        result.append(("grpc.enable_http_proxy", 0))
    return result


def connect(settings: Settings) -> grpc.Channel:
    """A synchronous channel; it connects at the first call."""
    address = _checked(settings)
    if settings.tls:
        return grpc.secure_channel(address, _credentials(settings), options(address))
    return grpc.insecure_channel(address, options(address))


def connect_aio(settings: Settings) -> grpc.aio.Channel:
    """The asyncio twin of `connect`."""
    address = _checked(settings)
    if settings.tls:
        return grpc.aio.secure_channel(address, _credentials(settings), options(address))
    return grpc.aio.insecure_channel(address, options(address))


def metadata(settings: Settings) -> Sequence[tuple[str, str]]:
    """The metadata of a call: the token, asked anew where it comes from a provider."""
    token = settings.token
    if token is None:
        return ()
    value = token() if callable(token) else token
    # Whatever is wrong with it, grpc's own error would repeat it.
    if (
        not isinstance(value, str)
        or not value
        or not value.isascii()
        or not value.isprintable()
        or " " in value
    ):
        source = "the token provider gave" if callable(token) else "token is"
        raise SettingsError(f"{source} no token: it must be a text of visible ASCII characters")
    return (("authorization", f"Bearer {value}"),)


def _checked(settings: Settings) -> str:
    if settings.server is None:
        raise NoServerError("no server was named")
    if settings.token is not None and not settings.tls and not is_loopback(settings.server):
        raise SettingsError(
            f"a token is not sent in plaintext to {settings.server}: use TLS (--tls, tls=True), or a "
            "loopback address through a tunnel"
        )
    return settings.server


def _credentials(settings: Settings) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_read(settings.ca_cert, "CERTIFICATE"),
        private_key=_read(settings.client_key, "PRIVATE KEY"),
        certificate_chain=_read(settings.client_cert, "CERTIFICATE"),
    )


def _read(path: Path | None, kind: str) -> bytes | None:
    """A PEM file. grpc itself would only say, at the first call, that the connection failed."""
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    if kind.encode() + b"-----" not in content:
        raise SettingsError(f"{path} holds no {kind.lower()} in PEM form")
    if kind == "PRIVATE KEY" and b"ENCRYPTED" in content:
        raise SettingsError(f"the private key {path} is encrypted; give one that is not")
    return content

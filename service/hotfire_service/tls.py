"""The server's certificate, key and client authority: read again at a handshake after they have changed.

Whoever renews them writes the files in any order, in place or by renaming: a pair that does not fit together (yet) is
not used, and the last good one goes on. Connections that are open stay as they are.
"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import Any

import grpc
import structlog

from hotfire_service import watched

_log = structlog.get_logger("hotfire.service")


class CertificateError(ValueError):
    """Certificate, key or authority cannot be used; the text names the file."""


class ServerCertificate:
    """Certificate and key, and the authority of clients' certificates.

    Args:
        cert_file: PEM: the certificate, then the chain.
        key_file: PEM: its private key, not encrypted.
        client_ca_file: PEM; given: clients must show a certificate of this authority (mutual TLS).

    Raises:
        CertificateError: They cannot be used.
    """

    def __init__(self, cert_file: Path, key_file: Path, client_ca_file: Path | None = None) -> None:
        self._cert_file = cert_file
        self._key_file = key_file
        self._client_ca_file = client_ca_file
        self._lock = threading.Lock()
        self._stamps = self._look()
        self.num_reloads = {"read": 0, "refused": 0}
        self._first = self._load()

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials that ask for the certificate at every handshake."""
        return grpc.dynamic_ssl_server_credentials(
            self._first, self._fetch, require_client_authentication=self._client_ca_file is not None
        )

    def _look(self) -> list[watched.Stamp]:
        files = (self._cert_file, self._key_file, self._client_ca_file)
        return [watched.stamp(file) for file in files if file is not None]

    def _fetch(self) -> Any:
        """What grpc asks before each handshake, from a thread of its own; None: nothing has changed."""
        with self._lock:
            stamps = self._look()
            if stamps == self._stamps:
                return None
            self._stamps = stamps
            try:
                loaded = self._load()
            except CertificateError as error:
                self.num_reloads["refused"] += 1
                _log.error("certificate_kept", why=str(error))
                return None
            self.num_reloads["read"] += 1
            _log.info("certificate_read", file=str(self._cert_file))
            return loaded

    def _load(self) -> Any:
        cert, key = _read(self._cert_file), _read(self._key_file)
        check_pair(self._cert_file, self._key_file)
        authority = None
        if self._client_ca_file is not None:
            authority = _read(self._client_ca_file)
            _check_authority(self._client_ca_file)
        return grpc.ssl_server_certificate_configuration([(key, cert)], root_certificates=authority)


def check_pair(cert_file: Path, key_file: Path) -> None:
    """Raises CertificateError where certificate and key are no pair."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # The password keeps OpenSSL from asking the terminal for one.
        context.load_cert_chain(cert_file, key_file, password="")
    except (OSError, ValueError) as error:
        raise CertificateError(
            f"{cert_file} and {key_file} are not a certificate and its unencrypted private key (PEM): {_short(error)}"
        ) from None


def _check_authority(file: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(file)
    except (OSError, ValueError) as error:
        raise CertificateError(
            f"{file} holds no certificate of an authority (PEM): {_short(error)}"
        ) from None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CertificateError(f"cannot read {file}: {error.strerror}") from None


def _short(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error) or type(error).__name__

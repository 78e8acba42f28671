"""The health check of the service's image: over plaintext, TLS and mTLS, with and without Redis."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from hotfire_service import probe
from hotfire_service.server import Server
from hotfire_service.settings import ServiceSettings

READY = "hotfire.v1.PreflightService"


def issued(folder, *, names):
    """Key and certificate files of a server, and its authority's certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = dt.datetime.now(dt.UTC)

    def sign(subject, issuer, key, by, *extensions):
        builder = x509.CertificateBuilder().serial_number(x509.random_serial_number())
        builder = builder.subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        builder = builder.not_valid_before(now - dt.timedelta(minutes=5))
        builder = builder.not_valid_after(now + dt.timedelta(days=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root, leaf = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in ("authority", "server")
    )
    ca = sign(root, root, authority, authority, x509.BasicConstraints(ca=True, path_length=None))
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    (folder / "ca.pem").write_bytes(ca)
    (folder / "server.pem").write_bytes(sign(leaf, root, own, authority, names))
    (folder / "server.key").write_bytes(
        own.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return {"tls_cert_file": folder / "server.pem", "tls_key_file": folder / "server.key"}


async def ask(server, **changes):
    settings = server.settings.model_copy(update={"port": server.port, **changes})
    return await asyncio.to_thread(lambda: [probe.ask(settings), probe.ask(settings, READY)])


@pytest.mark.parametrize("tls", [False, True])
async def test_a_healthy_service(store_settings, tmp_path, tls):
    # The certificate is for the name that clients use, and not for the address that the probe uses.
    files = issued(tmp_path, names=["preflight.example"]) if tls else {}
    settings = ServiceSettings(port=0, token="a-secret-token", stop_grace_s=0.1, sweep_s=0.2, **files)
    async with Server(settings, store_settings) as server:
        assert await ask(server) == ["SERVING", "SERVING"]


async def test_without_redis_it_lives_and_is_not_ready(store_settings):
    nowhere = store_settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with Server(ServiceSettings(port=0, stop_grace_s=0.1, sweep_s=0.2), nowhere) as server:
        assert await ask(server) == ["SERVING", "NOT_SERVING"]


async def test_a_service_that_wants_certificates_listens(store_settings, tmp_path):
    files = issued(tmp_path, names=["preflight.example"])
    settings = ServiceSettings(
        port=0, stop_grace_s=0.1, sweep_s=0.2, tls_client_ca_file=tmp_path / "ca.pem", **files
    )  # fmt: skip
    async with Server(settings, store_settings) as server:
        assert await ask(server) == [probe.LISTENING, probe.LISTENING]
    assert [answer[:11] for answer in await ask(server)] == ["UNREACHABLE", "UNREACHABLE"]


async def test_plaintext_where_tls_is_spoken_is_not_well(store_settings, tmp_path):
    async with Server(ServiceSettings(port=0, stop_grace_s=0.1, sweep_s=0.2), store_settings) as server:
        answers = await ask(server, **issued(tmp_path, names=["preflight.example"]))
    assert [answer[:11] for answer in answers] == ["UNREACHABLE", "UNREACHABLE"]


def test_the_command(monkeypatch, capsys, unused_tcp_port):
    monkeypatch.setenv("HOTFIRE_SERVICE_PORT", str(unused_tcp_port))
    monkeypatch.setenv("HOTFIRE_SERVICE_HOST", "0.0.0.0")
    monkeypatch.setenv("HOTFIRE_SERVICE_ALLOW_INSECURE", "true")
    assert probe.main(["--timeout", "1"]) == 1
    assert f"127.0.0.1:{unused_tcp_port}" in capsys.readouterr().out
    monkeypatch.setenv("HOTFIRE_SERVICE_PORT", "70000")
    assert probe.main([]) == 2
    assert "port" in capsys.readouterr().err

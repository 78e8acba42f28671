"""TLS with a token."""

import datetime as dt
import ipaddress

import grpc.aio
import pytest

from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1.preflight_service_pb2_grpc import PreflightServiceStub
from hotfire_service.server import Server
from hotfire_service.settings import ServiceSettings


def certificate() -> tuple[bytes, bytes]:
    """(key, certificate) for 127.0.0.1."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hotfire")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(pem, pkcs8, plain), built.public_bytes(pem)


async def test_tls_and_token(store_settings, tmp_path):
    key, cert = certificate()
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "cert.pem").write_bytes(cert)
    settings = ServiceSettings(
        port=0,
        token="secret-secret",
        tls_cert_file=tmp_path / "cert.pem",
        tls_key_file=tmp_path / "key.pem",
        stop_grace_s=0.5,
    )
    request = service_pb2.GetServerInfoRequest()
    async with Server(settings, store_settings) as server:
        trusted = grpc.ssl_channel_credentials(cert)
        async with grpc.aio.secure_channel(server.address, trusted) as channel:
            stub = PreflightServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.GetServerInfo(request)
            assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
            metadata = (("authorization", "Bearer secret-secret"),)
            info = await stub.GetServerInfo(request, metadata=metadata)
            assert info.features["tls"]
            assert info.features["auth"]
        async with grpc.aio.insecure_channel(server.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await PreflightServiceStub(channel).GetServerInfo(request, timeout=5)


async def test_an_unreadable_certificate_is_said(store_settings, tmp_path):
    for name in ("key.pem", "cert.pem"):
        (tmp_path / name).write_text("not a certificate")
    settings = ServiceSettings(port=0, tls_cert_file=tmp_path / "cert.pem", tls_key_file=tmp_path / "key.pem")
    with pytest.raises(Exception, match="cannot listen"):
        await Server(settings, store_settings).start()

"""TLS: certificates, mutual or not, renewed without a restart."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import grpc
import grpc.aio
import pytest
from tls_helpers import Authority, key_pem

import hotfire
from hotfire.errors import SettingsError, UnavailableError
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1.preflight_service_pb2_grpc import PreflightServiceStub
from hotfire_service.server import Server
from hotfire_service.settings import ServiceSettings
from hotfire_service.tls import CertificateError

INFO = service_pb2.GetServerInfoRequest()


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def settings(authority):
    cert, key = authority.write("server")
    return ServiceSettings(port=0, tls_cert_file=cert, tls_key_file=key, stop_grace_s=0.5)


async def shown(address: str) -> bytes:
    """The certificate that a new connection is shown."""
    import ssl

    host, _, port = address.rpartition(":")
    return (await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)), timeout=5)).encode()


def ask(address: str, **options: object) -> service_pb2.GetServerInfoResponse:
    with hotfire.Client(address, **options) as client:
        return client.get_server_info()


async def test_tls_and_its_absence(settings, store_settings, authority):
    async with Server(settings, store_settings) as server:
        info = await asyncio.to_thread(ask, server.address, ca_cert=authority.file)
        assert info.features["tls"]
        for options, why in (({}, "may want TLS"), ({"tls": True}, "not trusted")):
            with pytest.raises(UnavailableError, match=why):
                await asyncio.wait_for(asyncio.to_thread(ask, server.address, **options), 10)


async def test_tls_to_a_server_that_has_none(store_settings, authority):
    async with Server(ServiceSettings(port=0, stop_grace_s=0.5), store_settings) as server:
        with pytest.raises(UnavailableError, match="does not speak TLS"):
            await asyncio.wait_for(asyncio.to_thread(ask, server.address, ca_cert=authority.file), 10)


async def test_a_certificate_for_another_name(store_settings, authority):
    cert, key = authority.write("server", addresses=("127.0.0.9",))
    settings = ServiceSettings(port=0, tls_cert_file=cert, tls_key_file=key, stop_grace_s=0.5)
    async with Server(settings, store_settings) as server:
        with pytest.raises(UnavailableError, match="another name"):
            await asyncio.wait_for(asyncio.to_thread(ask, server.address, ca_cert=authority.file), 10)


async def test_mutual_tls(settings, store_settings, authority, tmp_path):
    clients = Authority(tmp_path, "clients")
    settings = settings.model_copy(update={"tls_client_ca_file": clients.file})
    good, stranger = clients.write("client"), authority.write("stranger")
    async with Server(settings, store_settings) as server:
        options = {"ca_cert": authority.file, "client_cert": good[0], "client_key": good[1]}
        assert await asyncio.to_thread(ask, server.address, **options)
        flags = ["--ca-cert", authority.file, "--client-cert", good[0], "--client-key", good[1]]
        command = [sys.executable, "-m", "hotfire", "pools", "--server", server.address, *map(str, flags)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        for pair in (None, stranger):
            options = {"ca_cert": authority.file}
            if pair:
                options |= {"client_cert": pair[0], "client_key": pair[1]}
            with pytest.raises(UnavailableError):
                await asyncio.wait_for(asyncio.to_thread(ask, server.address, **options), 10)
        # The authority of the clients is renewed as well.
        clients.file.write_bytes(clients.pem + authority.pem)
        options = {"ca_cert": authority.file, "client_cert": stranger[0], "client_key": stranger[1]}
        assert await asyncio.to_thread(ask, server.address, **options)


async def test_a_renewed_certificate_is_shown_and_open_connections_stay(settings, store_settings, authority):
    roots = grpc.ssl_channel_credentials(authority.pem)
    async with Server(settings, store_settings) as server:
        first = await shown(server.address)
        async with grpc.aio.secure_channel(server.address, roots) as channel:
            stub = PreflightServiceStub(channel)
            await stub.GetServerInfo(INFO)
            authority.write("server")
            second = await shown(server.address)
            assert second == (authority.folder / "server.pem").read_bytes()
            assert second != first
            await stub.GetServerInfo(INFO)
        # Half of a pair: the last good one goes on, until the other half is there.
        key, cert = authority.pair()
        settings.tls_cert_file.write_bytes(cert)
        assert await shown(server.address) == second
        settings.tls_key_file.unlink()
        assert await shown(server.address) == second
        settings.tls_key_file.write_bytes(key)
        assert await shown(server.address) == cert
        assert server._reloads["certificate"] == {"read": 2, "refused": 2}


@pytest.mark.parametrize("broken", ["cert", "key", "missing", "encrypted", "another", "authority"])
async def test_what_cannot_be_used_is_said_at_start(settings, store_settings, authority, tmp_path, broken):
    match broken:
        case "cert":
            settings.tls_cert_file.write_text("not a certificate")
        case "key":
            settings.tls_key_file.write_text("not a key")
        case "missing":
            settings.tls_key_file.unlink()
        case "encrypted":
            settings.tls_key_file.write_bytes(key_pem(authority.key, b"password"))
        case "another":
            settings.tls_key_file.write_bytes(key_pem(authority.key))
        case "authority":
            (tmp_path / "ca.txt").write_text("nothing")
            settings = settings.model_copy(update={"tls_client_ca_file": tmp_path / "ca.txt"})
    with pytest.raises(CertificateError, match=str(tmp_path)):
        await Server(settings, store_settings).start()


def test_the_client_names_a_wrong_file(authority, tmp_path):
    cert, key = authority.write("client")
    key.with_name("encrypted").write_bytes(key_pem(authority.key, b"password"))
    (tmp_path / "empty").touch()
    for options, why in (
        ({"ca_cert": tmp_path / "empty"}, "holds no certificate"),
        ({"ca_cert": tmp_path / "none"}, "does not exist"),
        ({"client_cert": cert}, "go together"),
        ({"client_cert": cert, "client_key": cert}, "holds no private key"),
        ({"client_cert": cert, "client_key": key.with_name("encrypted")}, "is encrypted"),
    ):
        with pytest.raises(SettingsError, match=why):
            hotfire.Client("127.0.0.1:1", **options)

"""Who may call: every RPC of the service's descriptor, so that a new one cannot be forgotten."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tls_helpers import Authority

import hotfire
from hotfire.errors import AuthenticationError, HotfireError, SettingsError, UnavailableError
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service import tokens as tokens_module
from hotfire_service.server import Server
from hotfire_service.settings import ServiceSettings
from hotfire_service.tokens import digest_of

Code = grpc.StatusCode
GOOD, OTHER, EXPIRED = "hotfire_good-token", "hotfire_other-token", "hotfire_expired-token"
METHODS = list(service_pb2.DESCRIPTOR.services_by_name["PreflightService"].methods)
LIMIT_S = 5.0


def tokens_text(**tokens: tuple[str, str | None]) -> str:
    lines = []
    for name, (token, expires) in tokens.items():
        lines += [
            "[[token]]",
            f'name = "{name}"',
            f'tenant = "{name}"',
            f'sha256 = "{digest_of(token).hex()}"',
        ]
        lines += [f"expires = {expires}"] if expires else []
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tokens_file(tmp_path):
    path = tmp_path / "tokens.toml"
    path.write_text(tokens_text(good=(GOOD, None), expired=(EXPIRED, "2020-01-01")))
    return path


@pytest.fixture
def service_settings(authority, tokens_file, request):
    cert, key = authority.write("server")
    given = {"port": 0, "tokens_file": tokens_file, "tls_cert_file": cert, "tls_key_file": key}
    return ServiceSettings(**(given | {"stop_grace_s": 0.5} | getattr(request, "param", {})))


@pytest.fixture
def secure(authority) -> Callable[[Server], grpc.aio.Channel]:
    roots = grpc.ssl_channel_credentials(authority.pem)
    return lambda server: grpc.aio.secure_channel(server.address, roots)


async def outcome(
    channel: grpc.aio.Channel, method: Any, authorization: str | None
) -> tuple[Code, str, float]:
    """(code, details, seconds) of one call with an empty request; the deadline is a hang."""
    request_class = message_factory.GetMessageClass(method.input_type)
    response_class = message_factory.GetMessageClass(method.output_type)
    kinds = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    call = kinds[method.client_streaming, method.server_streaming](
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=request_class.SerializeToString,
        response_deserializer=response_class.FromString,
    )
    request: Any = iter([request_class()]) if method.client_streaming else request_class()
    metadata = (("authorization", authorization),) if authorization is not None else ()
    began = time.monotonic()
    running = call(request, timeout=2 * LIMIT_S, metadata=metadata)
    try:
        if method.server_streaming:
            async for _ in running:
                break
            running.cancel()
        else:
            await running
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or "", time.monotonic() - began
    return Code.OK, "", time.monotonic() - began


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
async def test_every_rpc_wants_a_good_token(server, secure, method, authority):
    async with secure(server) as channel:
        for authorization in (
            None,
            "",
            "Bearer",
            f"Bearer {OTHER}",
            f"Bearer {EXPIRED}",
            f"Basic {GOOD}",
            GOOD,
            f"Bearer {digest_of(GOOD).hex()}",
        ):
            code, details, seconds = await outcome(channel, method, authorization)
            assert (code, seconds < LIMIT_S) == (Code.UNAUTHENTICATED, True), (authorization, details)
            for token in (GOOD, OTHER, EXPIRED):
                assert token not in details
        # The same call with the token gets past the door: what refuses it above is the token, and nothing else.
        code, details, seconds = await outcome(channel, method, f"Bearer {GOOD}")
        assert code in (Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND), details
        assert seconds < LIMIT_S
    # Plaintext against TLS, TLS with an unknown authority: nothing is sent, and nothing hangs.
    strange = grpc.ssl_channel_credentials(Authority(authority.folder, "strange").pem)
    for channel in (
        grpc.aio.insecure_channel(server.address),
        grpc.aio.secure_channel(server.address, strange),
    ):
        async with channel:
            code, details, seconds = await outcome(channel, method, f"Bearer {GOOD}")
            assert (code, seconds < LIMIT_S) == (Code.UNAVAILABLE, True), details


def test_the_descriptor_has_the_contract_s_rpcs():
    assert {m.name for m in METHODS} >= {
        "CheckConfig",
        "UploadArtifact",
        "CreatePreflight",
        "GetPreflight",
        "DeletePreflight",
        "ListPreflights",
        "CancelPreflight",
        "WaitPreflight",
        "WatchPreflight",
        "GetRow",
        "ListRules",
        "ListPools",
        "GetServerInfo",
    }


async def test_a_changed_file_counts_at_once(server, secure, tokens_file, monkeypatch):
    monkeypatch.setattr(tokens_module, "_LOOK_AGAIN_S", 0.0)
    method = next(m for m in METHODS if m.name == "GetServerInfo")
    async with secure(server) as channel:
        await asyncio.sleep(1.1)  # the first look was promised for then
        assert (await outcome(channel, method, f"Bearer {GOOD}"))[0] is Code.OK
        tokens_file.write_text(tokens_text(other=(OTHER, None)))
        assert (await outcome(channel, method, f"Bearer {GOOD}"))[0] is Code.UNAUTHENTICATED
        assert (await outcome(channel, method, f"Bearer {OTHER}"))[0] is Code.OK
        tokens_file.write_text("")
        assert (await outcome(channel, method, f"Bearer {OTHER}"))[0] is Code.UNAUTHENTICATED
        assert (await outcome(channel, method, None))[0] is Code.UNAUTHENTICATED


async def test_a_watch_ends_with_its_token(server, authority, tokens_file, make_request, tmp_path):
    """An open stream is no way around a revoked or expired token."""
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=3)
    tokens_file.write_text(tokens_text(soon=(OTHER, f"{soon:%Y-%m-%dT%H:%M:%S.%fZ}")))
    await asyncio.sleep(1.1)
    request = make_request(preflight_id="watched")
    request.spec.model.ClearField("path")
    request.spec.model.hub_id = "a/b"
    async with hotfire.aio.Client(server.address, token=OTHER, ca_cert=authority.file) as client:
        server.settings.hub_access = True
        await client._unary("CreatePreflight", request, service_pb2.CreatePreflightResponse)
        with pytest.raises(AuthenticationError, match="expired"):
            async with asyncio.timeout(10):
                async for _ in client.watch_preflight("watched"):
                    pass


async def test_a_tenant_sees_its_own_alone(server, authority, tokens_file, make_request):
    tokens_file.write_text(tokens_text(one=(GOOD, None), two=(OTHER, None)))
    await asyncio.sleep(1.1)
    server.settings.hub_access = True
    request = make_request(preflight_id="mine")
    request.spec.model.hub_id = "a/b"
    async with (
        hotfire.aio.Client(server.address, token=GOOD, ca_cert=authority.file) as mine,
        hotfire.aio.Client(server.address, token=OTHER, ca_cert=authority.file) as other,
    ):
        await mine._unary("CreatePreflight", request, service_pb2.CreatePreflightResponse)
        assert [p.name async for p in mine.list_preflights()] == ["preflights/mine"]
        assert [p.name async for p in other.list_preflights()] == []
        with pytest.raises(HotfireError) as raised:
            await other.get_preflight("mine")
        assert raised.value.code == "NOT_FOUND"


# --- Health and reflection --------------------------------------------------------------------------------


async def knock(channel: grpc.aio.Channel, metadata: Any = ()) -> dict[str, Code]:
    """How health (both its RPCs) and reflection answer."""
    health, found = health_pb2_grpc.HealthStub(channel), {}

    async def watch() -> None:
        call = health.Watch(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=LIMIT_S)
        async for _ in call:
            break
        call.cancel()

    async def reflect() -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        async for _ in stub.ServerReflectionInfo(iter([request]), metadata=metadata, timeout=LIMIT_S):
            pass

    for name, attempt in (
        ("check", lambda: health.Check(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=LIMIT_S)),
        ("watch", watch),
        ("reflection", reflect),
    ):
        try:
            await attempt()
            found[name] = Code.OK
        except grpc.aio.AioRpcError as error:
            found[name] = error.code()
    return found


@pytest.mark.parametrize(
    ("service_settings", "health", "reflection"),
    [
        ({}, Code.OK, Code.OK),
        ({"health": "closed"}, Code.UNAUTHENTICATED, Code.OK),
        ({"reflection": "closed"}, Code.OK, Code.UNAUTHENTICATED),
        ({"reflection": "off"}, Code.OK, Code.UNIMPLEMENTED),
        ({"reflection": False}, Code.OK, Code.UNIMPLEMENTED),
    ],
    indirect=["service_settings"],
)
async def test_health_and_reflection_open_or_closed(server, secure, health, reflection):
    async with secure(server) as channel:
        assert await knock(channel) == {"check": health, "watch": health, "reflection": reflection}
        known = await knock(channel, (("authorization", f"Bearer {GOOD}"),))
        with_token = Code.UNIMPLEMENTED if reflection is Code.UNIMPLEMENTED else Code.OK
        assert known == {"check": Code.OK, "watch": Code.OK, "reflection": with_token}


# --- What the SDK sends, and what it does not -------------------------------------------------------------


async def test_the_sdk_over_tls(server, authority):
    def ask(token: object) -> object:
        with hotfire.Client(server.address, token=token, ca_cert=authority.file) as client:
            return client.get_server_info()

    assert (await asyncio.to_thread(ask, GOOD)).features["auth"]
    assert await asyncio.to_thread(ask, lambda: GOOD)
    for token in (None, OTHER, EXPIRED):
        with pytest.raises(AuthenticationError) as raised:
            await asyncio.to_thread(ask, token)
        assert str(token) not in f"{raised.value!r} {raised.value}" or token is None
    for token in ("two words", "ümlaut", "line\nbreak", lambda: "", lambda: None, lambda: f"{GOOD}\r\nx: y"):
        with pytest.raises(SettingsError, match="no token") as raised:
            await asyncio.to_thread(ask, token)
        assert GOOD not in str(raised.value)


@pytest.mark.parametrize("tls", [None, False])
@pytest.mark.parametrize("address", ["192.0.2.1:50051", "host.example:50051", "http://192.0.2.1"])
async def test_no_token_leaves_in_plaintext(address, tls):
    for make in (hotfire.Client, hotfire.aio.Client):
        for token in (GOOD, lambda: GOOD):
            with pytest.raises(SettingsError, match="not sent in plaintext") as raised:
                make(address, token=token, tls=tls)
            assert GOOD not in str(raised.value)


async def test_a_listener_that_is_no_server_learns_nothing(authority):
    """The address is taken by something else, in plaintext or behind an unknown certificate: no token reaches it."""
    heard = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            heard.extend(data)
        writer.close()

    listener = await asyncio.start_server(listen, "127.0.0.1", 0)
    address = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"

    def ask(**options: object) -> None:
        with hotfire.Client(address, token=GOOD, deadline_s=2, **options) as client:
            client.get_server_info()

    for options in ({}, {"ca_cert": authority.file}):
        with pytest.raises(HotfireError):
            await asyncio.wait_for(asyncio.to_thread(ask, **options), 10)
    listener.close()
    assert heard
    assert GOOD.encode() not in heard


async def test_a_server_without_tls_on_loopback(store_settings, tokens_file):
    """Through a tunnel: the token may go to loopback in plaintext, and is wanted there."""
    settings = ServiceSettings(port=0, tokens_file=tokens_file, stop_grace_s=0.5)
    async with Server(settings, store_settings) as server:
        async with hotfire.aio.Client(server.address, token=GOOD) as client:
            assert (await client.get_server_info()).features["auth"]
        async with hotfire.aio.Client(server.address) as client:
            with pytest.raises(AuthenticationError):
                await client.get_server_info()
        async with hotfire.aio.Client(server.address, token=GOOD, tls=True) as client:
            with pytest.raises(UnavailableError, match="does not speak TLS"):
                await asyncio.wait_for(client.get_server_info(), 10)

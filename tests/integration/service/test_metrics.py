"""The side port: what Prometheus is told, and the probes."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request

import grpc.aio
import pytest

from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1.preflight_service_pb2_grpc import PreflightServiceStub
from hotfire_service.server import BindError, Server

METRICS = {"metrics_address": "127.0.0.1:0"}


async def get(server: Server, path: str = "/metrics") -> tuple[int, str]:
    def ask() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{server.metrics_address}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


async def numbers(server: Server) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in (await get(server))[1].splitlines() if line[0] != "#"]
    return {name: float(value) for name, _, value in lines}


@pytest.mark.parametrize("service_settings", [METRICS], indirect=True)
async def test_calls_and_pools(server, stub, worker, make_request):
    worker.pool = "default"
    worker.beat()
    await stub.CreatePreflight(make_request(preflight_id="one"))
    await stub.CreatePreflight(make_request(preflight_id="two"))
    worker.claim("one")
    for name in ("none", "nobody"):
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetPreflight(service_pb2.GetPreflightRequest(name=f"preflights/{name}"))
    stream = stub.WatchPreflight(service_pb2.WatchPreflightRequest(name="preflights/two"))
    await anext(aiter(stream))
    await server._health.look()
    found = await numbers(server)
    expected = {
        'hotfire_requests_total{code="OK",method="CreatePreflight"}': 2,
        'hotfire_requests_total{code="NOT_FOUND",method="GetPreflight"}': 2,
        'hotfire_request_seconds_count{method="CreatePreflight"}': 2,
        'hotfire_requests_in_progress{method="WatchPreflight"}': 1,
        'hotfire_requests_in_progress{method="GetPreflight"}': 0,
        'hotfire_preflights{pool="default",state="queued"}': 1,
        'hotfire_preflights{pool="default",state="running"}': 1,
        'hotfire_slots{pool="default",state="free"}': 2,
        'hotfire_slots{pool="default",state="busy"}': 1,
        'hotfire_workers{pool="default"}': 1,
        "hotfire_store_up": 1,
        'hotfire_reloads_total{outcome="read",what="tokens"}': 0,
    }
    assert {name: found.get(name) for name in expected} == expected
    stream.cancel()
    for _ in range(50):
        found = await numbers(server)
        if found['hotfire_requests_in_progress{method="WatchPreflight"}'] == 0:
            break
        await asyncio.sleep(0.05)
    assert found['hotfire_requests_total{code="CANCELLED",method="WatchPreflight"}'] == 1


@pytest.mark.parametrize("service_settings", [METRICS | {"token": "secret-secret"}], indirect=True)
async def test_refused_calls_are_counted_and_no_token_is_shown(server):
    metadata = (("authorization", "Bearer canary-canary"),)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = PreflightServiceStub(channel)
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.ListPools(service_pb2.ListPoolsRequest(), metadata=metadata)
        # Names that callers invent do not become labels.
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary("/hotfire.v1.PreflightService/Canary")(b"")
    text = (await get(server))[1]
    assert 'hotfire_requests_total{code="UNAUTHENTICATED",method="ListPools"} 3.0' in text
    assert "anary" not in text
    assert "secret" not in text


@pytest.mark.parametrize("service_settings", [METRICS], indirect=True)
async def test_probes(server):
    assert await get(server, "/livez") == (200, "ok")
    assert await get(server, "/readyz") == (200, "ok")
    assert (await get(server, "/"))[0] == 404
    server.deps.stopping.set()
    assert await get(server, "/readyz") == (503, "stopping")


@pytest.mark.parametrize("service_settings", [METRICS], indirect=True)
@pytest.mark.parametrize("store_settings", [{"redis_url": "redis://127.0.0.1:1/0"}], indirect=True)
async def test_without_redis_it_lives_and_is_not_ready(server):
    assert await get(server, "/livez") == (200, "ok")
    assert await get(server, "/readyz") == (503, "Redis does not answer")
    found = await numbers(server)
    assert found["hotfire_store_up"] == 0
    assert not any(name.startswith("hotfire_workers{") for name in found)


async def test_off_by_default(server):
    assert server.metrics_address is None


@pytest.mark.parametrize("service_settings", [METRICS], indirect=True)
async def test_a_taken_port_is_an_error(server, service_settings, store_settings):
    taken = service_settings.model_copy(update={"metrics_address": server.metrics_address})
    with pytest.raises(BindError, match="metrics_address"):
        await Server(taken, store_settings).start()

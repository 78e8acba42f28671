"""WatchPreflight and WaitPreflight: cursors, heartbeats, reset, shutdown."""

import asyncio
import time

import grpc
import pytest

from hotfire.v1 import preflight_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2


def watch(stub, name="preflights/a", cursor=""):
    return stub.WatchPreflight(service_pb2.WatchPreflightRequest(name=name, cursor=cursor))


def kinds(events) -> list[str]:
    return [e.WhichOneof("event") for e in events]


async def test_from_the_start_and_live_to_the_end(stub, make_request, worker):
    await stub.CreatePreflight(make_request(preflight_id="a"))
    events = []

    async def follow() -> None:
        async for event in watch(stub):
            events.append(event)

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.1)
    assert kinds(events) == ["state", "progress"]
    started = time.monotonic()
    await worker.run("a", num_steps=3)
    await asyncio.wait_for(task, 5)
    assert time.monotonic() - started < 1.0
    assert kinds(events) == ["state", "progress", "state", "step", "step", "step", "state"]
    assert [int(e.cursor) for e in events] == list(range(1, 8))
    assert [e.attempt for e in events] == [0, 0, 1, 1, 1, 1, 1]
    assert all(e.time.seconds for e in events)
    last = events[-1].state
    assert last.state == preflight_pb2.STATE_SUCCEEDED
    assert last.preflight.report.headline == "It trains"


async def test_resume_after_a_cursor(stub, make_request, worker):
    await stub.CreatePreflight(make_request(preflight_id="a"))
    await worker.run("a", num_steps=3)
    everything = [e async for e in watch(stub)]
    assert [e async for e in watch(stub, cursor="4")] == everything[4:]
    # The client has had the last event, and asks again.
    (again,) = [e async for e in watch(stub, cursor=everything[-1].cursor)]
    assert again.state == everything[-1].state
    assert again.cursor == everything[-1].cursor


@pytest.mark.parametrize("store_settings", [{"events_maxlen": 10}], indirect=True)
@pytest.mark.parametrize("cursor", ["", "3"])
async def test_an_old_cursor_gets_the_whole(stub, make_request, worker, cursor):
    await stub.CreatePreflight(make_request(preflight_id="a"))
    await worker.run("a", num_steps=30)
    events = [e async for e in watch(stub, cursor=cursor)]
    assert kinds(events) == ["reset"] + ["step"] * 9 + ["state"]
    assert events[0].reset.preflight.state == preflight_pb2.STATE_SUCCEEDED
    assert int(events[0].cursor) == int(events[1].cursor) - 1


async def test_a_cursor_of_another_life(stub, make_request, worker):
    await stub.CreatePreflight(make_request(preflight_id="a"))
    await worker.run("a")
    events = [e async for e in watch(stub, cursor="1000")]
    assert kinds(events)[0] == "reset"
    assert events[-1].state.state == preflight_pb2.STATE_SUCCEEDED


@pytest.mark.parametrize("cursor", ["x", "-1", "1-0", "²"])
async def test_bad_cursors(stub, make_request, cursor):
    await stub.CreatePreflight(make_request(preflight_id="a"))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await anext(aiter(watch(stub, cursor=cursor)))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_unknown_preflight(stub):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await anext(aiter(watch(stub)))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_deleted_while_watched(stub, make_request):
    await stub.CreatePreflight(make_request(preflight_id="a"))
    stream = aiter(watch(stub))
    await anext(stream)
    await anext(stream)
    await stub.DeletePreflight(service_pb2.DeletePreflightRequest(name="preflights/a"))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await anext(stream)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("service_settings", [{"heartbeat_s": 0.2}], indirect=True)
async def test_heartbeats_carry_the_last_cursor(stub, make_request):
    await stub.CreatePreflight(make_request(preflight_id="a"))
    stream = aiter(watch(stub))
    events = [await anext(stream) for _ in range(4)]
    assert kinds(events) == ["state", "progress", "heartbeat", "heartbeat"]
    assert [e.cursor for e in events] == ["1", "2", "2", "2"]


async def test_a_stopping_service_says_so(server, stub, make_request):
    await stub.CreatePreflight(make_request(preflight_id="a"))
    stream = aiter(watch(stub))
    await anext(stream)
    await anext(stream)
    waiting = asyncio.create_task(
        _wait_code(stub.WaitPreflight(service_pb2.WaitPreflightRequest(name="preflights/a")))
    )
    await asyncio.sleep(0.1)
    stopping = asyncio.create_task(server.stop())
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await anext(stream)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert await waiting is grpc.StatusCode.UNAVAILABLE
    await stopping


async def _answer(call):
    return await call


async def _wait_code(call) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code()


async def test_wait(stub, make_request, worker):
    await stub.CreatePreflight(make_request(preflight_id="a"))
    request = service_pb2.WaitPreflightRequest(name="preflights/a")
    request.timeout.nanos = 50_000_000
    started = time.monotonic()
    assert (await stub.WaitPreflight(request)).preflight.state == preflight_pb2.STATE_QUEUED
    assert 0.04 < time.monotonic() - started < 1.0
    request.timeout.seconds = 30
    waiting = asyncio.ensure_future(_answer(stub.WaitPreflight(request)))
    await asyncio.sleep(0.05)
    await worker.run("a")
    preflight = (await asyncio.wait_for(waiting, 2)).preflight
    assert preflight.state == preflight_pb2.STATE_SUCCEEDED
    request.timeout.seconds = -31
    assert await _wait_code(stub.WaitPreflight(request)) is grpc.StatusCode.INVALID_ARGUMENT


async def test_many_watchers(stub, make_request, worker):
    await stub.CreatePreflight(make_request(preflight_id="a"))

    async def follow() -> list[str]:
        return [e.cursor async for e in watch(stub)]

    tasks = [asyncio.create_task(follow()) for _ in range(30)]
    await asyncio.sleep(0.1)
    await worker.run("a", num_steps=50)
    seen = await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert all(s == [str(i) for i in range(1, 55)] for s in seen)

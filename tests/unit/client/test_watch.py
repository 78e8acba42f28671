import threading
import time

import grpc
import pytest

from hotfire import aio
from hotfire._watch import WatchState
from hotfire.client import Client
from hotfire.errors import NotFoundError, UnavailableError
from hotfire.v1 import preflight_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2


def cursors(events):
    return [event.cursor for event in events]


ALL = ["1", "2", "3", "4", "5", "6"]


def test_every_event_once(service, address):
    with Client(address) as client:
        assert cursors(client.watch_preflight("p1")) == ALL
    assert len(service.named("WatchPreflight")) == 1


@pytest.mark.parametrize("repeat_last", [False, True])
def test_broken_streams_go_on_from_the_cursor(service, address, repeat_last):
    service.break_after = [2, 0, 1, 2]
    service.repeat_last = repeat_last
    with Client(address) as client:
        assert cursors(client.watch_preflight("p1")) == ALL
    asked = [request.cursor for request in service.named("WatchPreflight")]
    assert asked[:2] == ["", "2"]
    assert len(asked) >= 4


async def test_the_asyncio_twin_does_the_same(service, address):
    service.break_after = [2, 0, 1]
    async with aio.Client(address) as client:
        handle = client.preflight("p1")
        assert [event.cursor async for event in handle.watch()] == ALL
        assert handle.done
        assert (await handle.result()).verdict == "FAIL"


def test_a_restarting_server_is_waited_for(service, restartable):
    address, stop, start = restartable
    service.break_after = [3]
    seen = []
    with Client(address) as client:
        for event in client.watch_preflight("p1"):
            seen.append(event.cursor)
            if len(seen) == 3:
                stop()
                threading.Timer(0.8, start).start()
    assert seen == ALL


def test_a_lost_server_is_given_up(service, restartable):
    address, stop, _ = restartable
    service.break_after = [1]
    began = time.monotonic()
    with Client(address) as client, pytest.raises(UnavailableError, match="lost"):
        for _event in client.watch_preflight("p1", patience_s=0.5):
            stop()
    assert time.monotonic() - began < 10


def test_an_unknown_preflight_is_not_asked_for_again(service, address):
    service.faults["WatchPreflight"] = [grpc.StatusCode.NOT_FOUND]
    with Client(address) as client, pytest.raises(NotFoundError):
        list(client.watch_preflight("p1"))
    assert len(service.named("WatchPreflight")) == 1


def test_heartbeats_move_the_cursor_and_are_not_delivered():
    state = WatchState("preflights/p1")
    beat = service_pb2.WatchPreflightResponse(cursor="9", heartbeat=preflight_pb2.HeartbeatEvent())
    assert not state.accept(beat)
    assert state.request().cursor == "9"


def test_a_reset_with_the_end_may_be_the_last_event(service, address):
    service.events = [
        service_pb2.WatchPreflightResponse(
            cursor="1", reset=preflight_pb2.ResetEvent(preflight=service.result)
        )
    ]
    with Client(address) as client:
        handle = client.preflight("p1")
        assert cursors(handle.watch(cursor="")) == ["1"]
        assert handle.done


def test_a_stream_that_ends_early_is_taken_up_again(service, address):
    last = service.events.pop()

    def complete():
        service.events.append(last)

    threading.Timer(0.3, complete).start()
    with Client(address) as client:
        assert cursors(client.watch_preflight("p1")) == ALL


def test_patience_is_counted_from_the_last_sign_of_life():
    now = [0.0]
    state = WatchState("preflights/p1", patience_s=10, clock=lambda: now[0])
    error = UnavailableError("gone")
    now[0] = 9.0
    assert 0 < state.delay_after(error) < 1
    state.accept(service_pb2.WatchPreflightResponse(cursor="1", log=preflight_pb2.LogEvent(message="x")))
    now[0] = 18.0
    state.delay_after(error)
    now[0] = 19.5
    with pytest.raises(UnavailableError, match="lost"):
        state.delay_after(error)

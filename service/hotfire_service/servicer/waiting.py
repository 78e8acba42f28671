"""Wait and Watch: both survive the service's restart, because everything they know is in the ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service import context as call
from hotfire_service import errors
from hotfire_service.admission import Violations, check_shape, preflight_key
from hotfire_service.servicer.deps import Deps
from hotfire_service.servicer.present import present
from hotfire_service.store import records
from hotfire_service.store.connection import stop_if_cancelled

_DEFAULT_WAIT_S = 30.0
_MAX_WAIT_S = 60.0
#: Notifications can be lost; nobody trusts them for longer.
_LOOK_AGAIN_S = 2.0


class Waiting:
    """WaitPreflight and WatchPreflight."""

    deps: Deps

    async def WaitPreflight(  # noqa: N802 - the name of the RPC
        self, request: service_pb2.WaitPreflightRequest, _context: Any
    ) -> service_pb2.WaitPreflightResponse:
        """The preflight when it is finished, or at the timeout in whatever state."""
        violations = Violations()
        check_shape(request, violations)
        timeout_s = _DEFAULT_WAIT_S
        if request.HasField("timeout"):
            timeout_s = request.timeout.seconds + request.timeout.nanos / 1e9
            if timeout_s < 0:
                violations.add("timeout", f"{timeout_s:g}s is negative")
        violations.raise_if_any()
        key = preflight_key(request.name)
        deadline = time.monotonic() + min(timeout_s, _MAX_WAIT_S)
        with self.deps.hub.subscribe(key) as changed:
            while True:
                stop_if_cancelled()
                changed.clear()
                state = await self.deps.ledger.state(key)
                left_s = deadline - time.monotonic()
                if state in records.TERMINAL or left_s <= 0:
                    preflight = await present(self.deps, key)
                    return service_pb2.WaitPreflightResponse(preflight=preflight)
                self._raise_if_over()
                await _wait(changed, min(left_s, _LOOK_AGAIN_S))

    async def WatchPreflight(  # noqa: N802
        self, request: service_pb2.WatchPreflightRequest, _context: Any
    ) -> AsyncIterator[service_pb2.WatchPreflightResponse]:
        """Every event after the cursor, then live ones, to the terminal state."""
        violations = Violations()
        check_shape(request, violations)
        if request.cursor and not (request.cursor.isascii() and request.cursor.isdigit()):
            violations.add("cursor", "not a cursor of a WatchPreflight event")
        violations.raise_if_any()
        key = preflight_key(request.name)
        async for response in self._events(key, int(request.cursor or 0)):
            yield response

    async def _events(self, key: str, cursor: int) -> AsyncIterator[service_pb2.WatchPreflightResponse]:
        ledger = self.deps.ledger
        if cursor > await ledger.last_cursor(key):
            # A cursor from another life of this id (deleted and made anew).
            await ledger.state(key)
            cursor = 0
            yield await self._reset(key, cursor)
        last_sent = time.monotonic()
        with self.deps.hub.subscribe(key) as changed:
            while True:
                stop_if_cancelled()
                changed.clear()
                events, has_gap = await ledger.events_after(key, cursor)
                if has_gap:
                    yield await self._reset(key, events[0].cursor - 1)
                for event in events:
                    cursor, last_sent = event.cursor, time.monotonic()
                    if event.is_terminal:
                        event.response.state.preflight.CopyFrom(await ledger.get(key))
                        yield event.response
                        return
                    yield event.response
                self._raise_if_over()
                if events:
                    continue
                if await ledger.state(key) in records.TERMINAL and cursor >= await ledger.last_cursor(key):
                    # The client had everything before it asked: it still gets its last event.
                    yield await self._terminal(key, cursor)
                    return
                silence_s = self.deps.settings.heartbeat_s - (time.monotonic() - last_sent)
                if silence_s <= 0:
                    yield _heartbeat(cursor)
                    last_sent = time.monotonic()
                    continue
                await _wait(changed, min(silence_s, _LOOK_AGAIN_S))

    async def _reset(self, key: str, cursor: int) -> service_pb2.WatchPreflightResponse:
        """Forget what you had: this is the whole; the events that are still kept follow."""
        response = _now(cursor)
        response.reset.preflight.CopyFrom(await self.deps.ledger.get(key))
        return response

    async def _terminal(self, key: str, cursor: int) -> service_pb2.WatchPreflightResponse:
        response = _now(cursor)
        preflight = await self.deps.ledger.get(key)
        response.state.state = preflight.state
        response.state.preflight.CopyFrom(preflight)
        return response

    def _raise_if_over(self) -> None:
        call.recheck.get()()
        if self.deps.stopping.is_set():
            raise errors.Unavailable(
                "the service is stopping; connect again and go on from your last cursor",
                reason="SERVICE_STOPPING",
            )


def _now(cursor: int) -> service_pb2.WatchPreflightResponse:
    response = service_pb2.WatchPreflightResponse(cursor=str(cursor))
    response.time.GetCurrentTime()
    return response


def _heartbeat(cursor: int) -> service_pb2.WatchPreflightResponse:
    response = _now(cursor)
    response.heartbeat.SetInParent()
    return response


async def _wait(changed: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await changed.wait()
    except TimeoutError:
        pass

"""The logic of watching: reconnect from the cursor with back-off, and deliver every event once.

The two loops (sync in `client`, asyncio in `aio`) only move messages; what to do stands here.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from hotfire.errors import HotfireError, UnavailableError
from hotfire.v1 import preflight_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2

if TYPE_CHECKING:
    from hotfire.v1.preflight_service_pb2 import WatchPreflightResponse

STREAM_S = 120.0
"""A stream is asked for anew after so long: that is when a silently swallowed one is noticed."""
PATIENCE_S = 120.0
"""A server that gave no message for so long, in spite of all attempts, is lost."""
_FIRST_DELAY_S, _MAX_DELAY_S = 0.2, 10.0

#: What a restarting server, a proxy or a deadline does to a stream.
_PASSING = {
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
    "UNKNOWN",
    "RESOURCE_EXHAUSTED",
    "ABORTED",
    "CANCELLED",
}

TERMINAL = frozenset(
    {
        preflight_pb2.STATE_SUCCEEDED,
        preflight_pb2.STATE_FAILED,
        preflight_pb2.STATE_CANCELLED,
        preflight_pb2.STATE_EXPIRED,
    }
)


class WatchState:
    """Where one watch stands."""

    def __init__(
        self,
        name: str,
        *,
        cursor: str = "",
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self.cursor = cursor
        self._patience_s = patience_s
        self._clock = clock
        self._last_sign = clock()
        self._num_failures = 0
        # A server that repeats events after a reconnection must not repeat them to the caller. Cursors are
        # opaque, so the recent ones are remembered.
        self._seen: dict[str, None] = {}
        self._finished = False
        self._may_end = False

    def request(self) -> service_pb2.WatchPreflightRequest:
        """The request that goes on where the last stream ended."""
        return service_pb2.WatchPreflightRequest(name=self._name, cursor=self.cursor)

    def accept(self, event: WatchPreflightResponse) -> bool:
        """Takes one message; True if the caller is to have it (new, and no heartbeat)."""
        self._last_sign = self._clock()
        self._num_failures = 0
        kind = event.WhichOneof("event")
        if kind == "heartbeat" or kind is None:
            self.cursor = event.cursor or self.cursor
            return False
        if event.cursor and event.cursor in self._seen:
            return False
        if event.cursor:
            self.cursor = event.cursor
            self._seen[event.cursor] = None
            if len(self._seen) > 1000:
                del self._seen[next(iter(self._seen))]
        self._finished = kind == "state" and event.state.state in TERMINAL
        # A reset may carry the end; whether a state event still follows is the server's choice.
        self._may_end = kind == "reset" and event.reset.preflight.state in TERMINAL
        return True

    def is_finished(self) -> bool:
        """Whether the last event was delivered."""
        return self._finished

    def may_end(self) -> bool:
        """Whether a stream that ends now has said all there is."""
        return self._may_end

    def delay_after(self, error: HotfireError | None) -> float:
        """Seconds to wait before the next stream.

        Args:
            error: Why the last one ended; None: it ended in order, but before the last event.

        Raises:
            HotfireError: It is no use going on.
        """
        if error is not None and error.code not in _PASSING:
            raise error
        if error is not None and error.code == "DEADLINE_EXCEEDED" and self._num_failures == 0:
            self._num_failures = 1
            return 0.0
        silent_s = self._clock() - self._last_sign
        if silent_s > self._patience_s:
            why = error.message if error is not None else "the stream ends without a last event"
            raise UnavailableError(
                f"the server is lost: no sign of {self._name} for {silent_s:.0f} s ({why})"
            ) from error
        delay: float = min(_FIRST_DELAY_S * 2.0**self._num_failures, _MAX_DELAY_S)
        self._num_failures += 1
        return delay * random.uniform(0.7, 1.3)


def preflight_of(event: WatchPreflightResponse) -> preflight_pb2.Preflight | None:
    """The whole preflight that an event carries, if it does."""
    kind = event.WhichOneof("event")
    if kind == "state" and event.state.HasField("preflight"):
        return event.state.preflight
    return event.reset.preflight if kind == "reset" else None

"""Waiting for a server that restarts."""

from __future__ import annotations

import random
import time

from hotfire.errors import HotfireError

RESTART_S = 30.0
"""A server that answered before and cannot be reached now is tried again for so long."""
_FIRST_DELAY_S, _MAX_DELAY_S = 0.2, 2.0
#: UNAVAILABLE for a reason of its own: a store that is away may stay away, and grpc has tried five times.
_NOT_RESTARTING = {"STORE_UNAVAILABLE"}


class Patience:
    """What a client knows of its server's life, for all its calls.

    A server that never answered is not waited for: a wrong address, or TLS where there is none, is to be told at once.
    """

    def __init__(self) -> None:
        self._has_answered = False

    def begin(self) -> Attempts:
        """For one call."""
        return Attempts(self)

    def answered(self) -> None:
        """A call has ended in order."""
        self._has_answered = True

    @property
    def has_answered(self) -> bool:
        """There was a server at the address."""
        return self._has_answered


class Attempts:
    """The attempts of one call. All can be repeated: CreatePreflight has a request_id, an upload its digest."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._end = time.monotonic() + RESTART_S
        self._delay_s = _FIRST_DELAY_S

    def delay_after(self, error: HotfireError) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            HotfireError: The given one: it is no use going on.
        """
        restarting = error.code == "UNAVAILABLE" and error.reason not in _NOT_RESTARTING
        if not restarting or not self._patience.has_answered or time.monotonic() > self._end:
            raise error
        delay_s = self._delay_s * random.uniform(0.7, 1.3)
        self._delay_s = min(2 * self._delay_s, _MAX_DELAY_S)
        return delay_s

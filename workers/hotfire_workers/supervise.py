"""Holding a claim while a preflight runs: the lease is renewed, and the wish to stop is noticed, in one thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Self

from hotfire.v1 import report_pb2
from hotfire_service.store import Claim, Ledger, StoreUnavailable
from hotfire_workers.events import Event

_log = logging.getLogger("hotfire.worker")

_TICK_S = 0.2
_RETRY_S = 2.0


class StopReason(Enum):
    """Why a running preflight is to stop."""

    CANCELLED = auto()
    """Somebody asked for it, or deleted it."""
    LOST = auto()
    """The lease is another's, or the record is gone: nothing may be written any more."""
    PREEMPTED = auto()
    """The operator stops this worker."""


class Supervision:
    """Keeps a claim, for as long as the `with` block lasts.

    Args:
        ledger: The ledger.
        claim: What is held.
        shutting_down: Says when the worker is being stopped.
        poll_s: Between two looks for a cancellation.
    """

    def __init__(
        self, ledger: Ledger, claim: Claim, *, shutting_down: Callable[[], bool], poll_s: float = 1.0
    ) -> None:
        self._ledger = ledger
        self._claim = claim
        self._shutting_down = shutting_down
        self._poll_s = poll_s
        self._lease_s = ledger.settings.lease_s
        self._renewed = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hotfire-supervision", daemon=True)
        self.reason: StopReason | None = None
        """Set once; the first wins."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(self._ledger.settings.redis_timeout_s + 1)

    def stop(self, reason: StopReason) -> None:
        """The preflight is to stop."""
        if self.reason is None:
            self.reason = reason

    def _watch(self) -> None:
        last_poll = 0.0
        while not self._ended.wait(_TICK_S):
            now = time.monotonic()
            if self._shutting_down():
                self.stop(StopReason.PREEMPTED)
            try:
                if now - self._renewed >= self._lease_s / 4:
                    self._renew()
                if now - last_poll >= self._poll_s:
                    last_poll = now
                    if self._ledger.cancel_requested(self._claim.preflight_id):
                        self.stop(StopReason.CANCELLED)
            except StoreUnavailable as error:
                if time.monotonic() - self._renewed > self._lease_s:
                    _log.error("%s: the lease ran out: %s", self._claim.preflight_id, error)
                    self.stop(StopReason.LOST)

    def _renew(self) -> None:
        began = time.monotonic()
        if self._ledger.renew(self._claim):
            self._renewed = began
        else:
            _log.warning("%s: the claim is lost", self._claim.preflight_id)
            self.stop(StopReason.LOST)


class LedgerSink:
    """Events into the ledger, in order. A Redis that is away for a while costs nothing: they wait.

    Args:
        ledger: The ledger.
        claim: What is held.
        supervision: Told when the claim is lost.
        count: Is shown every event.
    """

    def __init__(
        self,
        ledger: Ledger,
        claim: Claim,
        supervision: Supervision,
        *,
        count: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._claim = claim
        self._supervision = supervision
        self._count = count
        self._waiting: deque[Event] = deque(maxlen=ledger.settings.events_maxlen)
        self._retry_at = 0.0

    def append(self, event: Event) -> None:
        """Appends the event, now or when Redis is back."""
        self._count(event)
        self._waiting.append(event)
        if time.monotonic() >= self._retry_at:
            self.flush()

    def flush(self) -> bool:
        """Appends what waits; False if Redis is away."""
        try:
            while self._waiting:
                if not self._ledger.append(self._claim, self._waiting[0]):
                    self._supervision.stop(StopReason.LOST)
                    self._waiting.clear()
                    return True
                self._waiting.popleft()
        except StoreUnavailable as error:
            self._retry_at = time.monotonic() + _RETRY_S
            _log.warning("%s: %d events wait: %s", self._claim.preflight_id, len(self._waiting), error)
            return False
        return True

    def cancelled(self) -> bool:
        """The preflight is to stop, for whatever reason."""
        return self._supervision.reason is not None

    def put_rows(self, samples: Iterable[report_pb2.Sample]) -> None:
        """Keeps the rows, if Redis is there: they are a convenience."""
        try:
            self._ledger.put_rows(self._claim, samples)
        except StoreUnavailable as error:
            _log.warning("%s: rows were not kept: %s", self._claim.preflight_id, error)

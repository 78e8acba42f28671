"""Waking those who wait for a preflight: one Pub/Sub connection for all of them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from redis.exceptions import RedisError

from hotfire_service.store.connection import stop_if_cancelled
from hotfire_service.store.keys import Keys

_log = structlog.get_logger("hotfire.service")


class ChangeHub:
    """Tells watchers that a preflight has a new event.

    A lost notification costs nothing but time: whoever waits also looks for itself now and then.
    """

    def __init__(self, client: Any, keys: Keys) -> None:
        self._redis = client
        self._channel = keys.changed
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def subscribe(self, key: str) -> Iterator[asyncio.Event]:
        """An event that is set at every change of the preflight; whoever waits clears it."""
        event = asyncio.Event()
        self._waiting[key].add(event)
        try:
            yield event
        finally:
            self._waiting[key].discard(event)
            if not self._waiting[key]:
                del self._waiting[key]

    def wake_all(self) -> None:
        """Wakes everybody: the service stops, or notifications may have been missed."""
        for events in self._waiting.values():
            for event in events:
                event.set()

    async def run(self) -> None:
        """Listens until cancelled; reconnects when Redis comes back."""
        while True:
            stop_if_cancelled()
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(self._channel)
                    self.wake_all()
                    while True:
                        stop_if_cancelled()
                        message = await pubsub.get_message(timeout=10.0)
                        if message is not None:
                            for event in self._waiting.get(message["data"].decode(), ()):
                                event.set()
            except (RedisError, OSError) as error:
                _log.warning("notifications_lost", error=type(error).__name__)
                await asyncio.sleep(1.0)

"""The service's side of the ledger. Asyncio; the same scripts and keys as `Ledger`."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Self

from hotfire.v1 import preflight_pb2, report_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service.store import calls, listing, pools, records, scripts
from hotfire_service.store.calls import NewPreflight
from hotfire_service.store.connection import connect_async, translated
from hotfire_service.store.errors import NotFoundError, RunningError, StoreUnavailable
from hotfire_service.store.keys import Keys
from hotfire_service.store.records import StoredEvent
from hotfire_service.store.settings import StoreSettings

#: Events read in one go.
_BATCH = 200
#: How long an upload waits for a deletion of the same content to end.
_MAX_PIN_TRIES = 50


class AsyncLedger:
    """What the service reads and writes.

    Every method raises `StoreUnavailable` when Redis cannot be reached, and `NotFoundError` where a preflight
    is asked for that is not there or has expired.
    """

    def __init__(self, client: Any, *, settings: StoreSettings) -> None:
        self.settings = settings
        self.keys = Keys(settings.key_prefix)
        self.redis = client
        self._scripts = scripts.register(client)

    @classmethod
    def connect(cls, settings: StoreSettings | None = None) -> Self:
        """A ledger on `settings.redis_url` (default: from the environment)."""
        settings = settings or StoreSettings()
        return cls(connect_async(settings), settings=settings)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self.redis.aclose()

    async def ping(self) -> None:
        """Returns if Redis answers."""
        with translated():
            await self.redis.ping()

    async def run(self, name: str, arguments: list[scripts.Argument]) -> Any:
        """Runs one script."""
        with translated():
            return await self._scripts[name](args=arguments)

    # --- One preflight ------------------------------------------------------------------------------------

    async def create(self, new: NewPreflight) -> tuple[str, bool]:
        """Stores a preflight, or finds the one that this very request made before.

        Returns:
            (key id, whether it is new).

        Raises:
            ConflictError: request_id or preflight_id was used with another body.
            QuotaError: Too many queued and running preflights.
            UnknownArtifactError: An artifact of the spec is not there.
        """
        answer = await self.run("create", calls.create(new, self.keys, self.settings))
        return calls.created(answer, new)

    async def earlier(self, tenant: str, request_id: str, key: str | None, body_hash: str) -> str | None:
        """The key id that the same request got before, without creating anything.

        A request_id or preflight_id that was used with *another* body is left to `create` to refuse.
        """
        with translated():
            if request_id:
                previous = await self.redis.get(self.keys.request(tenant, request_id))
                if previous is not None:
                    known_hash, known_key = str(previous.decode()).split(" ")
                    if known_hash == body_hash and await self._alive(known_key):
                        return known_key
            if (
                key is not None
                and await self.redis.hget(self.keys.record(key), "body_hash") == body_hash.encode()
                and await self._alive(key)
            ):
                return key
        return None

    async def _alive(self, key: str) -> bool:
        expire = await self.redis.hget(self.keys.record(key), "expire_ms")
        return expire is not None and int(expire) > time.time() * 1000

    async def mark_sent(self, key: str) -> None:
        """The Celery message is out."""
        await self.run("sent", [self.keys.prefix, key])

    async def get(self, key: str) -> preflight_pb2.Preflight:
        """The whole preflight."""
        with translated():
            fields = await self.redis.hgetall(self.keys.record(key))
        if not fields or _is_expired(fields):
            raise NotFoundError(records.name_of(key))
        return records.to_preflight(key, fields)

    async def state(self, key: str) -> preflight_pb2.State:
        """Only its state."""
        with translated():
            state, expire = await self.redis.hmget(self.keys.record(key), "state", "expire_ms")
        if state is None or _is_expired({b"expire_ms": expire}):
            raise NotFoundError(records.name_of(key))
        return records.as_state(int(state))

    async def pool_of(self, key: str) -> str:
        """The pool it is queued for."""
        with translated():
            pool = await self.redis.hget(self.keys.record(key), "pool")
        return (pool or b"").decode()

    async def cancel(self, key: str) -> preflight_pb2.State:
        """Cancels a queued one at once, flags a running one, leaves a finished one alone.

        Returns:
            The state it had.
        """
        before = int(await self.run("cancel", calls.cancelling(self.keys, key)))
        if not before:
            raise NotFoundError(records.name_of(key))
        return records.as_state(before)

    async def delete(self, key: str) -> None:
        """Removes the record, its events and rows.

        Raises:
            RunningError: It is running.
        """
        before = int(await self.run("delete", [self.keys.prefix, key]))
        if not before:
            raise NotFoundError(records.name_of(key))
        if before == preflight_pb2.STATE_RUNNING:
            raise RunningError(records.name_of(key))

    async def get_row(self, key: str, row: int) -> report_pb2.Sample | None:
        """One row as tokens, if it was kept."""
        with translated():
            data = await self.redis.hget(self.keys.rows(key), row)
        return None if data is None else report_pb2.Sample.FromString(data)

    async def kept_rows(self, key: str) -> list[int]:
        """Which rows were kept."""
        with translated():
            return sorted(int(row) for row in await self.redis.hkeys(self.keys.rows(key)))

    # --- Events -------------------------------------------------------------------------------------------

    async def events_after(self, key: str, cursor: int) -> tuple[list[StoredEvent], bool]:
        """The next events after a cursor, at most a batch.

        Returns:
            (events, whether some between the cursor and the first of them are no longer kept).
        """
        stream = self.keys.events(key)
        with translated():
            entries = await self.redis.xrange(stream, min=f"{cursor + 1}-0", max="+", count=_BATCH)
        events = records.read_events(entries)
        return events, bool(events) and events[0].cursor > cursor + 1

    async def last_cursor(self, key: str) -> int:
        """The cursor of the newest event."""
        with translated():
            return int(await self.redis.hget(self.keys.record(key), "cursor") or 0)

    # --- Many ---------------------------------------------------------------------------------------------

    async def list_page(self, query: listing.Query) -> listing.Page:
        """One page of a tenant's preflights, newest first."""
        with translated():
            return await listing.read_page(self.redis, self.keys, query)

    async def pools(self) -> list[service_pb2.Pool]:
        """Known pools: those of the last days, with what their live workers say."""
        oldest = time.time() - self.settings.pool_memory_s
        with translated():
            names = await self.redis.zrangebyscore(self.keys.pools, oldest * 1000, "+inf")
            workers = await self.redis.zrange(self.keys.workers, 0, -1)
            beats = await self.redis.mget([self.keys.worker(w.decode()) for w in workers]) if workers else []
            known = [name.decode() for name in names]
            pipeline = self.redis.pipeline(transaction=False)
            for name in known:
                pipeline.scard(self.keys.pool_queued(name))
                pipeline.scard(self.keys.pool_running(name))
            numbers = await pipeline.execute() if known else []
        counts = {name: (numbers[2 * i], numbers[2 * i + 1]) for i, name in enumerate(known)}
        return pools.summarise(known, [b for b in beats if b], counts)

    async def cached(self, tenant: str, fingerprint: str) -> preflight_pb2.Preflight | None:
        """The last conclusive preflight with the same content."""
        with translated():
            key = await self.redis.get(self.keys.cache(tenant, fingerprint))
        if key is None:
            return None
        try:
            preflight = await self.get(key.decode())
        except NotFoundError:
            return None
        return preflight if preflight.state == preflight_pb2.STATE_SUCCEEDED else None

    # --- Artifacts ----------------------------------------------------------------------------------------

    async def artifact_kinds(self, tenant: str, sha256: str) -> set[int]:
        """As what the artifact was checked (numbers of `Kind`); empty: it is not known."""
        with translated():
            fields = await self.redis.hkeys(self.keys.artifact(tenant, sha256))
        if b"deleting" in fields:
            return set()
        return {int(name.removeprefix(b"kind")) for name in fields if name.startswith(b"kind")}

    async def pin_artifact(self, tenant: str, sha256: str, *, kind: int) -> None:
        """Makes an artifact known for its TTL. Do this before its content is moved into place."""
        ttl = calls.milliseconds(self.settings.artifact_ttl_s)
        for _ in range(_MAX_PIN_TRIES):
            answer = await self.run("pin", [self.keys.prefix, "", tenant, sha256, kind, ttl])
            if answer == b"ok":
                return
            await asyncio.sleep(0.1)
        raise StoreUnavailable("the same content is being deleted; try again")


def _is_expired(fields: Any) -> bool:
    expire = fields.get(b"expire_ms")
    return expire is None or int(expire) <= time.time() * 1000

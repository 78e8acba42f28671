"""The reaper: what no worker and no client can do. It runs in the service; with several, one at a time.

* a lease ran out: the preflight is queued again, FAILED after the last attempt, CANCELLED if that was asked;
* nobody took it in time: EXPIRED;
* a Celery message that was never sent, or is gone: sent (again);
* a record's time is over: removed, with the artifacts that nobody else names;
* an artifact's own time is over: deleted.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from hotfire_service.store import calls
from hotfire_service.store.aio import AsyncLedger
from hotfire_service.store.artifacts import ArtifactStore
from hotfire_service.store.connection import stop_if_cancelled, translated
from hotfire_service.store.errors import StoreUnavailable
from hotfire_service.store.queue import queue_name

_log = structlog.get_logger("hotfire.reaper")

#: At most so many of one kind per sweep; the next one goes on.
_BATCH = 500
#: A message that was sent this long ago, with nothing left in the broker's list, is taken for lost.
_RESEND_AFTER_S = 60.0
#: CreatePreflight sends its own message; only after this does the reaper.
_UNSENT_AFTER_S = 3.0


@dataclass(slots=True)
class Sweep:
    """What one sweep did: key ids (artifacts: `{tenant}:{sha256}`)."""

    requeued: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)


class Reaper:
    """Sweeps every few seconds.

    Args:
        ledger: The ledger.
        artifacts: Where artifacts lie.
        send: Sends the Celery message of (key id, pool).
        interval_s: Between two sweeps.
    """

    def __init__(
        self,
        ledger: AsyncLedger,
        artifacts: ArtifactStore,
        send: Callable[[str, str], Awaitable[None]],
        *,
        interval_s: float = 5.0,
    ) -> None:
        self._ledger = ledger
        self._artifacts = artifacts
        self._send = send
        self._interval_s = interval_s
        self._token = uuid.uuid4().hex
        self._unreachable = False

    async def run(self) -> None:
        """Sweeps until cancelled. Redis being away ends nothing: the next sweep tries again."""
        while True:
            stop_if_cancelled()
            try:
                if await self._is_mine():
                    await self.sweep()
                self._unreachable = False
            except StoreUnavailable as error:
                if not self._unreachable:
                    _log.warning("store_unavailable", error=str(error))
                self._unreachable = True
            except Exception as error:  # noqa: BLE001 - the reaper must outlive a surprise
                _log.error("sweep_failed", error=type(error).__name__)
            await asyncio.sleep(self._interval_s)

    async def _is_mine(self) -> bool:
        """Takes or keeps the lock that makes this reaper the only one."""
        ttl = calls.milliseconds(self._interval_s * 3)
        redis, lock = self._ledger.redis, self._ledger.keys.reaper
        with translated():
            if await redis.set(lock, self._token, nx=True, px=ttl):
                return True
            if await redis.get(lock) != self._token.encode():
                return False
            await redis.pexpire(lock, ttl)
            return True

    async def stop(self) -> None:
        """Gives the lock back, so that the next service need not wait for it to expire."""
        redis, lock = self._ledger.redis, self._ledger.keys.reaper
        try:
            with translated():
                if await redis.get(lock) == self._token.encode():
                    await redis.delete(lock)
        except StoreUnavailable:
            pass

    async def sweep(self) -> Sweep:
        """One sweep."""
        done = Sweep()
        await self._lost(done)
        await self._overdue(done)
        await self._unsent(done)
        await self._records(done)
        done.artifacts = await self.sweep_artifacts()
        await self._workers()
        return done

    async def _due(self, name: str, until_s: float) -> list[str]:
        with translated():
            found = await self._ledger.redis.zrangebyscore(name, "-inf", until_s * 1000, start=0, num=_BATCH)
        return [key.decode() for key in found]

    async def _lost(self, done: Sweep) -> None:
        ledger = self._ledger
        outcome = {b"queued": done.requeued, b"failed": done.failed, b"cancelled": done.cancelled}
        for key in await self._due(ledger.keys.leases, time.time()):
            answer = await ledger.run("lost", calls.lost(key, ledger.keys, ledger.settings))
            if answer in outcome:
                outcome[answer].append(key)
                _log.warning("worker_lost", preflight=key, then=answer.decode())

    async def _overdue(self, done: Sweep) -> None:
        ledger = self._ledger
        for key in await self._due(ledger.keys.queued, time.time()):
            answer = await ledger.run("overdue", calls.overdue(key, ledger.keys))
            if answer:
                (done.expired if answer == b"expired" else done.failed).append(key)
                _log.info("queue_timeout", preflight=key, then=answer.decode())

    async def _unsent(self, done: Sweep) -> None:
        ledger = self._ledger
        wanted = [*done.requeued]
        wanted += await self._due(ledger.keys.unsent, time.time() - _UNSENT_AFTER_S)
        wanted += await self._vanished()
        for key in dict.fromkeys(wanted):
            if await ledger.run("sent", [ledger.keys.prefix, key]):
                await self._send(key, await ledger.pool_of(key))
                done.sent.append(key)

    async def _vanished(self) -> list[str]:
        """Queued long ago, and the broker holds no message for the pool: they were lost on the way."""
        ledger, found = self._ledger, []
        limit_ms = (time.time() - _RESEND_AFTER_S) * 1000
        with translated():
            for pool in [name.decode() for name in await ledger.redis.zrange(ledger.keys.pools, 0, -1)]:
                if await ledger.redis.llen(ledger.keys.broker_prefix + queue_name(pool)):
                    continue
                for key in await ledger.redis.srandmember(ledger.keys.pool_queued(pool), _BATCH):
                    sent = await ledger.redis.hget(ledger.keys.record(key.decode()), "sent_ms")
                    if sent is not None and 0 < int(sent) < limit_ms:
                        found.append(key.decode())
        return found

    async def _records(self, done: Sweep) -> None:
        ledger = self._ledger
        for key in await self._due(ledger.keys.expirations, time.time()):
            if await ledger.run("purge", [ledger.keys.prefix, key]):
                done.removed.append(key)
                _log.info("record_expired", preflight=key)

    async def sweep_artifacts(self) -> list[str]:
        """Deletes the artifacts that nobody names any more or whose own time is over."""
        ledger, deleted = self._ledger, []
        for member in await self._due(ledger.keys.artifacts, time.time()):
            tenant, _, sha256 = member.partition(":")
            arguments = [ledger.keys.prefix, "", tenant, sha256]
            if await ledger.run("retire", [*arguments]):
                await asyncio.to_thread(self._artifacts.delete, sha256, tenant=tenant)
                await ledger.run("forget", [*arguments])
                deleted.append(member)
                _log.info("artifact_deleted", artifact=sha256, tenant=tenant)
        return deleted

    async def _workers(self) -> None:
        """Forgets workers that are gone and pools that nobody has served for days."""
        ledger, now = self._ledger, time.time()
        worker_limit = (now - ledger.settings.worker_ttl_s) * 1000
        pool_limit = (now - ledger.settings.pool_memory_s) * 1000
        with translated():
            await ledger.redis.zremrangebyscore(ledger.keys.workers, "-inf", worker_limit)
            await ledger.redis.zremrangebyscore(ledger.keys.pools, "-inf", pool_limit)

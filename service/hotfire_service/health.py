"""Health: `""` the process, `hotfire.v1.PreflightService` Redis, `workers` at least one live worker."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc_health.v1 import health, health_pb2

from hotfire_service.store.aio import AsyncLedger
from hotfire_service.store.connection import stop_if_cancelled
from hotfire_service.store.errors import StoreUnavailable

SERVICE = "hotfire.v1.PreflightService"
WORKERS = "workers"

#: The library has no annotations.
_health_code: Any = health
_UP = health_pb2.HealthCheckResponse.SERVING
_DOWN = health_pb2.HealthCheckResponse.NOT_SERVING
_INTERVAL_S = 2.0


class HealthWatch:
    """Keeps the statuses true."""

    def __init__(self, ledger: AsyncLedger) -> None:
        self.servicer: Any = _health_code.aio.HealthServicer()
        self._ledger = ledger

    async def look(self) -> None:
        """One look."""
        await self.servicer.set("", _UP)
        try:
            await self._ledger.ping()
            alive = any(pool.num_workers for pool in await self._ledger.pools())
        except StoreUnavailable:
            await self.servicer.set(SERVICE, _DOWN)
            await self.servicer.set(WORKERS, _DOWN)
            return
        await self.servicer.set(SERVICE, _UP)
        await self.servicer.set(WORKERS, _UP if alive else _DOWN)

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            stop_if_cancelled()
            await self.look()
            await asyncio.sleep(_INTERVAL_S)

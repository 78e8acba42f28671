"""Health: `""` the process, `hotfire.v1.PreflightService` Redis, `workers` at least one live worker."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc_health.v1 import health, health_pb2

from hotfire_service.store.aio import AsyncLedger
from hotfire_service.store.connection import stop_if_cancelled
from hotfire_service.store.errors import StoreUnavailable
from hotfire_service.telemetry import Telemetry

SERVICE = "hotfire.v1.PreflightService"
WORKERS = "workers"

#: The library has no annotations.
_health_code: Any = health
_UP = health_pb2.HealthCheckResponse.SERVING
_DOWN = health_pb2.HealthCheckResponse.NOT_SERVING
_INTERVAL_S = 2.0


class HealthWatch:
    """Keeps the statuses true, and what the metrics say of the pools."""

    def __init__(self, ledger: AsyncLedger, telemetry: Telemetry) -> None:
        self.servicer: Any = _health_code.aio.HealthServicer()
        self._ledger = ledger
        self._telemetry = telemetry

    async def look(self) -> None:
        """One look."""
        await self.servicer.set("", _UP)
        try:
            await self._ledger.ping()
            pools = await self._ledger.pools()
        except StoreUnavailable:
            self._telemetry.pools(None)
            await self.servicer.set(SERVICE, _DOWN)
            await self.servicer.set(WORKERS, _DOWN)
            return
        self._telemetry.pools(pools)
        await self.servicer.set(SERVICE, _UP)
        await self.servicer.set(WORKERS, _UP if any(pool.num_workers for pool in pools) else _DOWN)

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            stop_if_cancelled()
            await self.look()
            await asyncio.sleep(_INTERVAL_S)

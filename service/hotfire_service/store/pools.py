"""Worker pools, from the heartbeats of their workers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hotfire.v1 import preflight_service_pb2 as service_pb2


def summarise(
    known: Iterable[str], heartbeats: Iterable[bytes], counts: Mapping[str, tuple[int, int]]
) -> list[service_pb2.Pool]:
    """One message per pool, by name.

    Args:
        known: Pools that exist, with or without a live worker.
        heartbeats: JSON records of the live workers.
        counts: Pool -> (queued, running) preflights.
    """
    by_pool: dict[str, list[dict[str, Any]]] = {name: [] for name in known}
    for beat in heartbeats:
        record = json.loads(beat)
        by_pool.setdefault(str(record["pool"]), []).append(record)
    return [_pool(name, by_pool[name], counts.get(name, (0, 0))) for name in sorted(by_pool)]


def _pool(name: str, workers: list[dict[str, Any]], counts: tuple[int, int]) -> service_pb2.Pool:
    slots = sum(int(w.get("slots", 1)) for w in workers)
    busy = sum(int(w.get("busy", 0)) for w in workers)
    pool = service_pb2.Pool(
        name=name,
        num_slots_free=max(0, slots - busy),
        num_slots_busy=busy,
        num_queued=counts[0],
        num_running=counts[1],
        num_workers=len(workers),
    )
    if workers:
        # Workers of one pool are alike; where they are not, every device is named.
        pool.device = ", ".join(sorted({str(w["device"]) for w in workers if w.get("device")}))
        pool.num_devices_per_slot = max(int(w.get("num_devices_per_slot", 1)) for w in workers)
        for worker in workers:
            pool.versions.update({str(k): str(v) for k, v in (worker.get("versions") or {}).items()})
    return pool

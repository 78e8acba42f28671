"""A preflight as it is shown: a queued one says what it is waiting for now, not when it was queued."""

from __future__ import annotations

from hotfire.v1 import preflight_pb2
from hotfire_service.admission.queueing import queue_progress
from hotfire_service.servicer.deps import Deps


async def present(deps: Deps, key: str) -> preflight_pb2.Preflight:
    """The whole preflight.

    Raises:
        NotFoundError: It is not there.
    """
    preflight = await deps.ledger.get(key)
    if preflight.state == preflight_pb2.STATE_QUEUED:
        name = await deps.ledger.pool_of(key)
        pool = next((p for p in await deps.ledger.pools() if p.name == name), None)
        others = pool.num_queued - 1 if pool is not None else 0
        preflight.progress.CopyFrom(queue_progress(name, pool, num_others=others))
    return preflight

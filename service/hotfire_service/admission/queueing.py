"""What to say about the wait in a pool."""

from __future__ import annotations

from hotfire.v1 import preflight_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2


def queue_progress(name: str, pool: service_pb2.Pool | None, *, num_others: int) -> preflight_pb2.Progress:
    """Progress of a queued preflight.

    Args:
        name: Its pool.
        pool: What is known of the pool; None: no worker of it was ever seen.
        num_others: Queued preflights beside it.
    """
    if pool is None or not pool.num_workers:
        message = f"queued; no worker of the pool {name!r} is alive"
    elif num_others > 0:
        message = f"queued in the pool {name!r} with {num_others} others"
    else:
        message = f"queued in the pool {name!r}"
    return preflight_pb2.Progress(phase="queued", message=message)

"""The store: the Redis ledger, leases, events, artifacts and the queue. No grpc in here.

The service writes preflights and reads events (`AsyncLedger`), workers claim preflights and write events
(`Ledger`); both run the same Lua scripts, so that every change of state is one atomic step.

One Redis or Valkey node (with Sentinel, if wanted) is supported, Redis Cluster is not: a script touches
several keys, and Celery's Redis transport has no cluster mode either.
"""

from hotfire_service.store.aio import AsyncLedger
from hotfire_service.store.artifacts import ArtifactStore
from hotfire_service.store.errors import (
    ArtifactError,
    ArtifactMissing,
    ArtifactTooLarge,
    ConflictError,
    NotFoundError,
    QuotaError,
    RunningError,
    StoreError,
    StoreUnavailable,
    UnknownArtifactError,
)
from hotfire_service.store.ledger import Claim, Ledger
from hotfire_service.store.queue import DEFAULT_POOL, TASK, celery_config, queue_name, send
from hotfire_service.store.settings import StoreSettings

__all__ = [
    "DEFAULT_POOL",
    "TASK",
    "ArtifactError",
    "ArtifactMissing",
    "ArtifactStore",
    "ArtifactTooLarge",
    "AsyncLedger",
    "Claim",
    "ConflictError",
    "Ledger",
    "NotFoundError",
    "QuotaError",
    "RunningError",
    "StoreError",
    "StoreSettings",
    "StoreUnavailable",
    "UnknownArtifactError",
    "celery_config",
    "queue_name",
    "send",
]

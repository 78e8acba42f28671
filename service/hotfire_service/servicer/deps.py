"""What the RPCs work with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hotfire_service.admission import Admission
from hotfire_service.hub import ChangeHub
from hotfire_service.settings import ServiceSettings
from hotfire_service.store.aio import AsyncLedger
from hotfire_service.store.artifacts import ArtifactStore
from hotfire_service.store.queue import send
from hotfire_service.store.reaper import Reaper


@dataclass(slots=True)
class Deps:
    """One of each, for the life of the server."""

    settings: ServiceSettings
    ledger: AsyncLedger
    artifacts: ArtifactStore
    admission: Admission
    hub: ChangeHub
    reaper: Reaper
    celery: Any
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the service stops: whoever waits ends with UNAVAILABLE, and the SDK connects again."""
    background: set[asyncio.Task[None]] = field(default_factory=set)


async def send_message(celery: Any, key: str, pool: str) -> None:
    """Sends the Celery message, in a thread: publishing blocks."""
    await asyncio.to_thread(send, celery, key, pool)

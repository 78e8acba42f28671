"""Who is calling: set by the interceptors, read by the servicer."""

from __future__ import annotations

from contextvars import ContextVar

from hotfire_service.store.keys import DEFAULT_TENANT

#: The tenant of the call that this task serves.
tenant: ContextVar[str] = ContextVar("tenant", default=DEFAULT_TENANT)


__all__ = ["DEFAULT_TENANT", "tenant"]

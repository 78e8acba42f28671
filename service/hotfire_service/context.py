"""Who is calling: set by the interceptors, read by the servicer."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from hotfire_service.store.keys import DEFAULT_TENANT

#: The tenant of the call that this task serves.
tenant: ContextVar[str] = ContextVar("tenant", default=DEFAULT_TENANT)


#: Name of the token that the call came with; "" where none is wanted.
caller: ContextVar[str] = ContextVar("caller", default="")


def _nothing() -> None:
    pass


#: Raises Unauthenticated once the token of this call has expired or was revoked: for calls that last.
recheck: ContextVar[Callable[[], None]] = ContextVar("recheck", default=_nothing)


__all__ = ["DEFAULT_TENANT", "caller", "recheck", "tenant"]

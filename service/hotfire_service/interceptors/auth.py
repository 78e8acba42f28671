"""Bearer tokens. Health and reflection need none unless a setting says so: probes and grpcurl must work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from hotfire_service import context as call
from hotfire_service import errors
from hotfire_service.interceptors.errors import abort
from hotfire_service.interceptors.wrap import wrap
from hotfire_service.tokens import TokenTable

HEALTH = "/grpc.health."
REFLECTION = "/grpc.reflection."


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls without a valid token and notes the tenant.

    Args:
        table: Who a caller is.
        open_prefixes: Methods that need no token begin like this.
    """

    def __init__(self, table: TokenTable, *, open_prefixes: tuple[str, ...] = (HEALTH, REFLECTION)) -> None:
        self._table = table
        self._open = open_prefixes

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps every handler that is not open."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(self._open):
            return handler
        metadata: Any = handler_call_details.invocation_metadata or ()
        given = next((str(v) for k, v in metadata if k == "authorization"), None)

        @asynccontextmanager
        async def authenticated(context: Any) -> AsyncIterator[None]:
            try:
                entry = self._table.caller(given)
            except errors.Unauthenticated as error:
                await abort(context, error)
                raise  # never reached: abort raises
            if entry is not None:
                call.tenant.set(entry.tenant)
                call.caller.set(entry.name)
                call.recheck.set(lambda: _check(self._table, given))
            yield

        return wrap(handler, authenticated)


def _check(table: TokenTable, authorization: str | None) -> None:
    table.caller(authorization)

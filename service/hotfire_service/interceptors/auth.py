"""Bearer tokens. Health and reflection need none, on purpose: probes and grpcurl must work."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from hotfire_service import context as call
from hotfire_service import errors
from hotfire_service.interceptors.errors import abort
from hotfire_service.interceptors.wrap import is_ours, wrap


class TokenTable:
    """Which tenant a token belongs to.

    Args:
        tokens: Tenant -> token; empty: everybody is the default tenant.
    """

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._digests = {tenant: _digest(token) for tenant, token in tokens.items()}

    def tenant_of(self, authorization: str | None) -> str:
        """The tenant of an `authorization` header. Compares with every token, in constant time.

        Raises:
            Unauthenticated: No token, or a wrong one.
        """
        if not self._digests:
            return call.DEFAULT_TENANT
        if authorization is None:
            raise errors.Unauthenticated(
                "this server wants a token: metadata `authorization: Bearer <token>`", reason="TOKEN_MISSING"
            )
        scheme, _, token = authorization.partition(" ")
        digest = _digest(token.strip())
        found = None
        for tenant, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = tenant
        if found is None or scheme.lower() != "bearer":
            raise errors.Unauthenticated("the token is not valid here", reason="TOKEN_INVALID")
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls without a valid token and notes the tenant."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._table = TokenTable(tokens)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps our own handlers."""
        handler = await continuation(handler_call_details)
        if handler is None or not is_ours(handler_call_details.method):
            return handler
        metadata: Any = handler_call_details.invocation_metadata or ()
        given = next((str(v) for k, v in metadata if k == "authorization"), None)

        @asynccontextmanager
        async def authenticated(context: Any) -> AsyncIterator[None]:
            try:
                call.tenant.set(self._table.tenant_of(given))
            except errors.Unauthenticated as error:
                await abort(context, error)
            yield

        return wrap(handler, authenticated)

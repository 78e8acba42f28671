"""Exceptions become statuses with details; what nobody expected becomes INTERNAL with a correlation id."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import structlog

from hotfire_service import errors, logs
from hotfire_service.interceptors.wrap import is_ours, wrap
from hotfire_service.store.errors import NotFoundError, StoreUnavailable

_log = structlog.get_logger("hotfire.service")


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """The innermost interceptor."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps our own handlers."""
        handler = await continuation(handler_call_details)
        if handler is None or not is_ours(handler_call_details.method):
            return handler
        return wrap(handler, _converted)


@asynccontextmanager
async def _converted(context: Any) -> AsyncIterator[None]:
    try:
        yield
    except (grpc.aio.AbortError, grpc.RpcError):
        raise
    except Exception as error:  # noqa: BLE001 - the last line of defence
        await abort(context, as_service_error(error))


def as_service_error(error: Exception) -> errors.ServiceError:
    """What the caller is told."""
    if isinstance(error, errors.ServiceError):
        return error
    if isinstance(error, StoreUnavailable):
        _log.warning("store_unavailable", error=str(error))
        return errors.Unavailable(f"the store is not available: {error}", reason="STORE_UNAVAILABLE")
    if isinstance(error, NotFoundError):
        return errors.NotFound(
            "hotfire.v1.Preflight", error.preflight_id, "there is no such preflight, or it has expired"
        )
    correlation_id = uuid.uuid4().hex
    _log.error(
        "internal_error",
        correlation_id=correlation_id,
        type=type(error).__name__,
        frames=logs.frames(error),
    )
    return errors.Internal(correlation_id)


async def abort(context: Any, error: errors.ServiceError) -> None:
    """Ends the call with this error."""
    details = error.to_status().SerializeToString()
    await context.abort(error.code, error.message, trailing_metadata=(("grpc-status-details-bin", details),))

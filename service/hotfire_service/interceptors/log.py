"""One log line and one count per call: method, tenant, code, time. No message content."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import structlog

from hotfire_service import context as call
from hotfire_service.interceptors.wrap import is_ours, wrap
from hotfire_service.telemetry import Telemetry

_log = structlog.get_logger("hotfire.service")


class LogInterceptor(grpc.aio.ServerInterceptor):
    """The outermost interceptor.

    Args:
        telemetry: Counts the calls.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps our own handlers."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not is_ours(method):
            return handler
        name = method.rpartition("/")[2]

        @asynccontextmanager
        async def logged(context: Any) -> AsyncIterator[None]:
            structlog.contextvars.bind_contextvars(request=uuid.uuid4().hex[:12])
            started = time.monotonic()
            # Not at the end: a stream that its client cancelled may be closed after grpc has destroyed the call,
            # and asking a destroyed call for its peer is a segmentation fault.
            peer = context.peer()
            cancelled = True
            try:
                with self._telemetry.in_progress(name):
                    yield
                cancelled = False
            except Exception:
                cancelled = False
                raise
            finally:
                seconds = time.monotonic() - started
                code = "CANCELLED" if cancelled else _code(context)
                self._telemetry.ended(name, code, seconds)
                _log.info(
                    "call",
                    method=name,
                    tenant=call.tenant.get(),
                    caller=call.caller.get(),
                    code=code,
                    ms=round(seconds * 1000, 1),
                    peer=peer,
                )

        return wrap(handler, logged)


def _code(context: Any) -> str:
    """`context.code()` is nothing for OK, and a StatusCode or its number else."""
    code = context.code() or 0
    if isinstance(code, grpc.StatusCode):
        return str(code.name)
    return next((c.name for c in grpc.StatusCode if c.value[0] == code), str(code))

"""Putting code around a handler of any of the four kinds."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc

#: Given the gRPC context, what is around the handler's run.
Around = Callable[[Any], AbstractAsyncContextManager[None]]


def wrap(handler: Any, around: Around) -> Any:
    """The same handler, run inside `around(context)`."""
    codecs = (handler.request_deserializer, handler.response_serializer)
    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(_streaming(handler.stream_stream, around), *codecs)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(_streaming(handler.unary_stream, around), *codecs)
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(_single(handler.stream_unary, around), *codecs)
    return grpc.unary_unary_rpc_method_handler(_single(handler.unary_unary, around), *codecs)


def _single(behaviour: Any, around: Around) -> Any:
    async def run(request: Any, context: Any) -> Any:
        async with around(context):
            return await behaviour(request, context)

    return run


def _streaming(behaviour: Any, around: Around) -> Any:
    async def run(request: Any, context: Any) -> AsyncIterator[Any]:
        async with around(context):
            responses = behaviour(request, context)
            if inspect.isawaitable(responses):
                # The other way to write such a handler, as health's Watch is: it writes to the context by itself.
                await responses
                return
            async for response in responses:
                yield response

    return run


def is_ours(method: str) -> bool:
    """A method of PreflightService, and not of health or reflection."""
    return method.startswith("/hotfire.")

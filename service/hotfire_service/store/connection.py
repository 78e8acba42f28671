"""Connections to Redis or Valkey, and its errors as ours.

The clients are typed `Any`: redis-py annotates every command as "the value or an awaitable of it".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from hotfire_service.store.errors import StoreUnavailable
from hotfire_service.store.settings import StoreSettings

#: An idle connection may have been closed by the other side.
_NUM_RETRIES = 2


def connect(settings: StoreSettings) -> Any:
    """A synchronous client (bytes in, bytes out). Connects on first use."""
    return redis.Redis.from_url(
        _plain(settings.redis_url),
        socket_timeout=settings.redis_timeout_s,
        socket_connect_timeout=settings.redis_timeout_s,
        health_check_interval=25,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), _NUM_RETRIES),
    )


def connect_async(settings: StoreSettings) -> Any:
    """The asyncio twin of `connect`."""
    return redis.asyncio.Redis.from_url(
        _plain(settings.redis_url),
        socket_timeout=settings.redis_timeout_s,
        socket_connect_timeout=settings.redis_timeout_s,
        health_check_interval=25,
        retry=AsyncRetry(ExponentialBackoff(cap=1.0, base=0.05), _NUM_RETRIES),
    )


def _plain(url: str) -> str:
    """Valkey's schemes are Redis' schemes with another name."""
    return (
        url.replace("valkey+unix://", "unix://", 1)
        .replace("valkeys://", "rediss://", 1)
        .replace("valkey://", "redis://", 1)
    )


def broker_url(url: str) -> str:
    """The same address as Celery's Redis transport writes it."""
    plain = _plain(url)
    if plain.startswith("unix://"):
        path, _, query = plain.removeprefix("unix://").partition("?")
        database = dict(part.partition("=")[::2] for part in query.split("&") if part).get("db", "0")
        return f"redis+socket://{path}?virtual_host={database}"
    return plain


def stop_if_cancelled() -> None:
    """Call it at the top of every endless loop around Redis.

    redis-py sends through `asyncio.wait_for`, and up to Python 3.11 that swallows a cancellation which comes
    together with the result: the loop would go on for ever (seen about once in a hundred stops).

    Raises:
        asyncio.CancelledError: The running task was asked to stop.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


@contextmanager
def translated() -> Iterator[None]:
    """Turns Redis' errors into `StoreUnavailable`."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, BusyLoadingError, OSError) as error:
        raise StoreUnavailable(f"Redis cannot be reached ({type(error).__name__})") from error
    except RedisError as error:
        # Such as OOM, READONLY, or a script error: the store did not do what was asked.
        raise StoreUnavailable(f"Redis refused ({type(error).__name__}: {str(error)[:200]})") from error

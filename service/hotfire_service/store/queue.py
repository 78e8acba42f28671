"""The queue: Celery over the same Redis. Settings that the service and every worker must share.

The message carries the preflight's key id and nothing else; the ledger holds all there is to know. It may be
delivered twice (Celery's redelivery, the reaper's second message): it is the claim that is exclusive.
"""

from __future__ import annotations

from typing import Any

from kombu import entity

from hotfire_service.store.connection import broker_url
from hotfire_service.store.keys import Keys
from hotfire_service.store.settings import StoreSettings

TASK = "hotfire.run_preflight"
DEFAULT_POOL = "default"

#: kombu has no annotations.
_kombu: Any = entity


def queue_name(pool: str) -> str:
    """The Celery queue of a pool."""
    return f"pool.{pool}"


def queue_of(pool: str) -> Any:
    """The queue as an object: what `send_task` and `task_queues` need where missing queues are not made."""
    name = queue_name(pool)
    return _kombu.Queue(name, exchange=_kombu.Exchange(name, type="direct"), routing_key=name)


def visibility_timeout_s(settings: StoreSettings) -> int:
    """After this Redis hands an unacknowledged message out again: longer than the longest run, always an int.

    The shortest value among all programs on one broker wins, so every one of them gets this.
    """
    return int(settings.time_limit_s + settings.soft_shutdown_s + 120)


def celery_config(
    redis_url: str | None = None, *, settings: StoreSettings | None = None, pool: str | None = None
) -> dict[str, Any]:
    """Celery settings for the service (no pool) and for a worker of a pool.

    Args:
        redis_url: Where the broker is; default: `settings.redis_url`.
        settings: The shared settings; default: from the environment.
        pool: The pool a worker serves.
    """
    settings = settings or StoreSettings()
    visibility = visibility_timeout_s(settings)
    transport: dict[str, Any] = {
        "visibility_timeout": visibility,
        "global_keyprefix": Keys(settings.key_prefix).broker_prefix,
        "socket_timeout": 30,
        "socket_connect_timeout": settings.redis_timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 25,
    }
    config: dict[str, Any] = {
        "broker_url": broker_url(redis_url or settings.redis_url),
        "broker_transport_options": transport,
        "result_backend_transport_options": {"visibility_timeout": visibility},
        "visibility_timeout": visibility,
        "broker_connection_retry_on_startup": True,
        # The ledger is the result store.
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_create_missing_queues": False,
        "task_default_queue": queue_name(pool or DEFAULT_POOL),
        "task_queues": [queue_of(pool or DEFAULT_POOL)],
        "task_acks_late": True,
        "task_reject_on_worker_lost": False,
        # The reaper re-queues by the ledger's own count of attempts; a second counter would fight it.
        "task_retry_on_worker_lost": False,
        "task_time_limit": settings.time_limit_s,
        "task_soft_time_limit": settings.time_limit_s - 60,
        "task_track_started": True,
        "worker_prefetch_multiplier": 1,
        "worker_soft_shutdown_timeout": settings.soft_shutdown_s,
        # An idle worker stops at once: there are no tasks with a countdown that it could lose.
        "worker_enable_soft_shutdown_on_idle": False,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_max_tasks_per_child": 50,
        "timezone": "UTC",
    }
    return config


def send(app: Any, preflight_id: str, pool: str) -> None:
    """Sends the message (blocking; `task_id` is the key id, so that redelivery, revoke and logs agree).

    Args:
        app: A Celery app configured by `celery_config`.
        preflight_id: The ledger's key id.
        pool: The pool that is to run it.
    """
    app.send_task(TASK, args=[preflight_id], task_id=preflight_id, queue=queue_of(pool), retry=False)

"""The Celery app of a worker: one task, and the signals that tie the station to the worker's life."""

from __future__ import annotations

import logging
from typing import Any

import celery

from hotfire_service.store import TASK, celery_config
from hotfire_workers.station import Station
from hotfire_workers.task import execute

_log = logging.getLogger("hotfire.worker")
_CHECK_S = 0.5
#: Celery has no annotations.
_celery: Any = celery


def make_app(station: Station) -> Any:
    """The app of this worker. One per process: Celery's signals are global.

    Args:
        station: The worker's main process.
    """
    app = _celery.Celery("hotfire-worker")
    app.conf.update(celery_config(settings=station.store, pool=station.settings.pool))

    def run(preflight_id: str) -> None:
        with station.post() as post:
            execute(preflight_id, post)

    app.task(name=TASK, ignore_result=True)(run)
    _connect(station)
    return app


def _connect(station: Station) -> None:
    """Signals of the main process. They are kept alive by `weak=False`."""

    def on_init(**_: Any) -> None:
        # Before the pool's processes are forked: they inherit where the sockets are.
        station.start()

    def on_ready(sender: Any, **_: Any) -> None:
        station.heartbeat()
        sender.timer.call_repeatedly(_CHECK_S, station.check)
        sender.timer.call_repeatedly(station.settings.heartbeat_s, station.heartbeat)
        _log.warning(
            "ready: pool %s, %d slot(s) on %s%s",
            station.settings.pool,
            len(station.slots),
            _device(station),
            f", metrics on {station.telemetry.address}" if station.telemetry.address else "",
        )

    def on_process_init(**_: Any) -> None:
        station.telemetry.in_task_process()

    def on_shutting_down(**_: Any) -> None:
        # Running tasks see this within a fifth of a second, let their trials go, and give their claims back.
        station.stopping.set()
        station.beat()

    def on_shutdown(**_: Any) -> None:
        station.stop()

    _celery.signals.worker_init.connect(on_init, weak=False)
    _celery.signals.worker_ready.connect(on_ready, weak=False)
    _celery.signals.worker_process_init.connect(on_process_init, weak=False)
    _celery.signals.worker_shutting_down.connect(on_shutting_down, weak=False)
    _celery.signals.worker_shutdown.connect(on_shutdown, weak=False)


def _device(station: Station) -> str:
    return station.slots[0].device

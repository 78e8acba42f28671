"""`python -m hotfire_workers.metrics`: shows a worker's metrics. `hotfire_workers.telemetry` starts it.

| metric (all with `pool`) | labels | |
|---|---|---|
| `hotfire_worker_preflights_total` | result | succeeded, failed, cancelled, preempted (the worker was stopped), lost |
| `hotfire_worker_preflight_seconds` | | from claim to end |
| `hotfire_worker_verdicts_total` | verdict | of the succeeded ones |
| `hotfire_worker_rules_fired_total` | rule, severity | preflights in which the rule found something |
| `hotfire_worker_trials_total` | role, outcome | |
| `hotfire_worker_trial_phase_seconds` | phase | of each trial: import, model, ... step |
| `hotfire_worker_warm_fallbacks_total` | | what the warm process could not run and a cold launch had to repeat |
| `hotfire_worker_slots` | state | free, busy |
| `hotfire_worker_warm_processes` | | slots whose warm process answers |
| `hotfire_worker_warm_restarts` | | of warm processes, since the start |
| `hotfire_worker_ready` | | 1: it takes work |
| `hotfire_worker_last_beat_timestamp_seconds` | | when the main process was last seen |

`/livez` fails when the main process has been silent for two minutes while Redis answers: with Redis away Celery's loop
stands still, and to restart every worker for that would cost their warm processes and help nobody. Before the first
beat (set-up may take minutes) it does not fail. `/readyz` is for whoever counts workers: nothing is routed by it.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from hotfire_service.store import Ledger, StoreError, StoreSettings
from hotfire_service.store.endpoint import Endpoint
from hotfire_workers.runner import tree

# A second series for every counter, that nobody asks for.
disable_created_metrics()

SILENT_S = 120.0
_PHASE_BUCKETS_S = (0.02, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0)
_PREFLIGHT_BUCKETS_S = (1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0)


class WorkerMetrics:
    """Adds up the lines of one worker.

    Args:
        pool: The worker's.
        store_answers: Whether Redis answers now.
        clock: Seconds since 1970.
    """

    def __init__(
        self, pool: str, *, store_answers: Callable[[], bool], clock: Callable[[], float] = time.time
    ) -> None:
        self.registry = CollectorRegistry()
        self._pool = pool
        self._store_answers = store_answers
        self._clock = clock
        self._last_beat: float | None = None
        self._store_down_at = float("-inf")
        self._is_ready = False
        self._counters = {
            "preflights": self._counter("preflights", "Preflights that ended here", "result"),
            "verdicts": self._counter("verdicts", "Verdicts", "verdict"),
            "rules_fired": self._counter("rules_fired", "Rules that found something", "rule", "severity"),
            "trials": self._counter("trials", "Trials", "role", "outcome"),
            "warm_fallbacks": self._counter("warm_fallbacks", "Requests that were repeated cold"),
        }
        self._histograms = {
            "preflight_seconds": self._histogram(
                "preflight_seconds", "From claim to end", _PREFLIGHT_BUCKETS_S
            ),
            "trial_phase_seconds": self._histogram(
                "trial_phase_seconds", "Of each trial", _PHASE_BUCKETS_S, "phase"
            ),
        }
        self._slots = self._gauge("slots", "Slots", "state")
        self._warm = self._gauge("warm_processes", "Slots whose warm process answers")
        self._restarts = self._gauge("warm_restarts", "Restarts of warm processes")
        self._ready = self._gauge("ready", "1: it takes work")
        self._beat = self._gauge("last_beat_timestamp_seconds", "When the main process was last seen")
        # What has not happened yet is 0, and not absent: an alert's rate() needs the first step, too.
        self._counters["warm_fallbacks"].labels(pool)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"hotfire_worker_{name}", text, ["pool", *labels], registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"hotfire_worker_{name}", text, ["pool", *labels], registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(
            f"hotfire_worker_{name}", text, ["pool", *labels], buckets=buckets, registry=self.registry
        )

    def take(self, line: bytes) -> None:
        """One line of the pipe. What cannot be understood is left out: these are numbers for a chart."""
        try:
            name, value, labels = json.loads(line)
            if name == "beat":
                self._take_beat(labels)
            elif name in self._counters:
                self._counters[name].labels(pool=self._pool, **labels).inc(value)
            elif name in self._histograms:
                self._histograms[name].labels(pool=self._pool, **labels).observe(value)
        except (ValueError, TypeError, KeyError) as error:
            print(f"hotfire-metrics: a line was dropped ({type(error).__name__})", file=sys.stderr)

    def _take_beat(self, values: dict[str, Any]) -> None:
        self._last_beat = self._clock()
        self._is_ready = bool(values["ready"])
        self._ready.labels(self._pool).set(int(self._is_ready))
        self._beat.labels(self._pool).set(self._last_beat)
        self._slots.labels(self._pool, "busy").set(values["busy"])
        self._slots.labels(self._pool, "free").set(values["slots"] - values["busy"])
        self._warm.labels(self._pool).set(values["warm"])
        self._restarts.labels(self._pool).set(values["warm_restarts"])

    def why_not_live(self) -> str | None:
        """None: the main process lives, or nothing can be said against it."""
        now = self._clock()
        if self._last_beat is None or now - self._last_beat < SILENT_S:
            return None
        if not self._store_answers():
            self._store_down_at = now
        # When Redis is back, Celery needs a while to notice.
        if now - self._store_down_at < SILENT_S:
            return None
        return f"the worker's main process has been silent for {now - self._last_beat:.0f} s"

    def why_not_ready(self) -> str | None:
        """None: it takes work."""
        if self._last_beat is None:
            return "it is being set up"
        silent_s = self._clock() - self._last_beat
        if silent_s >= SILENT_S:
            return f"silent for {silent_s:.0f} s"
        return None if self._is_ready else "it is stopping"


def store_answers() -> bool:
    """Whether the Redis of `HOTFIRE_STORE_*` answers."""
    with contextlib.suppress(StoreError):
        ledger = Ledger.connect(StoreSettings())
        try:
            ledger.ping()
        finally:
            ledger.close()
        return True
    return False


def serve(metrics: WorkerMetrics, lines: BinaryIO, listening: socket.socket) -> None:
    """Answers until the lines end."""
    endpoint = Endpoint(listening, metrics.registry, live=metrics.why_not_live, ready=metrics.why_not_ready)
    endpoint.start()
    try:
        for line in iter(lines.readline, b""):
            metrics.take(line)
    finally:
        endpoint.close()


def main(argv: list[str]) -> int:
    """`NUMBER POOL PARENT`: the listening socket's descriptor, the pool, the process to end with."""
    number, pool, parent = argv
    tree.die_with_parent(int(parent), signal.SIGTERM)
    assert threading.current_thread() is threading.main_thread()
    serve(
        WorkerMetrics(pool, store_answers=store_answers),
        sys.stdin.buffer,
        socket.socket(fileno=int(number)),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

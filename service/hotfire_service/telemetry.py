"""What the service counts, for Prometheus.

| metric | labels | |
|---|---|---|
| `hotfire_requests_total` | method, code | calls that ended; `code` is the gRPC status name |
| `hotfire_request_seconds` | method | how long they took; a wait or a watch lasts as long as it is asked to |
| `hotfire_requests_in_progress` | method | such as open watches |
| `hotfire_preflights` | pool, state | queued and running, from the ledger |
| `hotfire_slots` | pool, state | free and busy slots of live workers |
| `hotfire_workers` | pool | live workers |
| `hotfire_store_up` | | 1: Redis answered at the last look |
| `hotfire_reloads_total` | what, outcome | token file and certificate: read, refused (the old one goes on) |

Several services on one Redis all show the same pools: aggregate those by `max`, requests by `sum`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from hotfire.v1 import preflight_service_pb2 as service_pb2

# A second series for every counter, that nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped

_BUCKETS_S = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0)
#: The method of a call that is none of ours: a label must not be something that callers invent.
_METHODS = frozenset(
    method.name for method in service_pb2.DESCRIPTOR.services_by_name["PreflightService"].methods
)


class Telemetry:
    """The metrics of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "hotfire_requests", "Calls that ended", ["method", "code"], registry=self.registry
        )
        self._seconds = Histogram(
            "hotfire_request_seconds",
            "How long calls took",
            ["method"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._in_progress = Gauge(
            "hotfire_requests_in_progress", "Open calls", ["method"], registry=self.registry
        )
        self._preflights = Gauge(
            "hotfire_preflights", "Queued and running", ["pool", "state"], registry=self.registry
        )
        self._slots = Gauge("hotfire_slots", "Of live workers", ["pool", "state"], registry=self.registry)
        self._workers = Gauge("hotfire_workers", "Live workers", ["pool"], registry=self.registry)
        self._store_up = Gauge("hotfire_store_up", "1: Redis answers", registry=self.registry)
        self.is_store_up = False

    @contextmanager
    def in_progress(self, method: str) -> Iterator[None]:
        """Counts a call while it lasts."""
        gauge = self._in_progress.labels(_label(method))
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()

    def ended(self, method: str, code: str, seconds: float) -> None:
        """A call has ended."""
        self._requests.labels(_label(method), code).inc()
        self._seconds.labels(_label(method)).observe(seconds)

    def pools(self, pools: Iterable[service_pb2.Pool] | None) -> None:
        """What the ledger says of the pools; None: it does not answer, and old numbers would be lies."""
        self.is_store_up = pools is not None
        self._store_up.set(int(self.is_store_up))
        for gauge in (self._preflights, self._slots, self._workers):
            gauge.clear()
        for pool in pools or ():
            self._preflights.labels(pool.name, "queued").set(pool.num_queued)
            self._preflights.labels(pool.name, "running").set(pool.num_running)
            self._slots.labels(pool.name, "free").set(pool.num_slots_free)
            self._slots.labels(pool.name, "busy").set(pool.num_slots_busy)
            self._workers.labels(pool.name).set(pool.num_workers)

    def watch_reloads(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Shows how often files were read again.

        Args:
            counts: "tokens" or "certificate" -> outcome -> number; looked at when somebody asks.
        """
        self.registry.register(_Reloads(counts))


class _Reloads(Collector):
    def __init__(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "hotfire_reloads", "Files that were read again", labels=["what", "outcome"]
        )
        for what, outcomes in self._counts.items():
            for outcome, number in outcomes.items():
                family.add_metric([what, outcome], number)
        yield family


def _label(method: str) -> str:
    return method if method in _METHODS else "other"

"""What a second machine needs: TLS, tokens, pools - and nothing lost while an operator works on them.

Real Valkey, service, Celery workers and trials. The service listens on another loopback address than its clients use by
default; a client reaches it with a token over TLS alone.
"""

from __future__ import annotations

import signal
import socket
import ssl
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from secret_search import files_below, places_of, redis_values, scrape
from stack_helpers import ServiceProcess, run_cli, stored_events
from tls_helpers import Authority
from worker_helpers import EXAMPLES, WorkerProcess, job, wait_for

import hotfire
from hotfire.errors import AuthenticationError
from hotfire.v1 import preflight_pb2, report_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service import tokens_cli
from hotfire_service.store import Ledger, StoreSettings

State = preflight_pb2.State
TENANT = "team-a"
HOST = "127.0.0.2"
#: ListPools tells the truth so soon after a worker's death.
TRUTH_S = 15.0


@dataclass
class Site:
    """Service, two workers with a pool each, and the operator's files."""

    folder: Path
    store: StoreSettings
    authority: Authority
    tokens_file: Path
    service: ServiceProcess
    workers: dict[str, WorkerProcess]
    metrics: dict[str, str]
    token: str = field(repr=False)
    expired: str = field(repr=False)
    said: list[str] = field(default_factory=list)
    """What clients were told: errors, outputs."""

    def client(self, token: str | None = None) -> hotfire.Client:
        return hotfire.Client(self.service.address, token=token or self.token, ca_cert=self.authority.file)

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """All that the run has produced."""
        yield from files_below([self.folder])
        yield from redis_values(self.store)
        for name, address in self.metrics.items():
            yield f"metrics of {name}", scrape(address).encode()
        for number, text in enumerate(self.said):
            yield f"said {number}", text.encode()


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


def new_token(path: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    assert tokens_cli.main(["new", "--file", str(path), "--tenant", TENANT, *flags]) == 0
    return capsys.readouterr().out.strip()


@contextmanager
def _site(
    redis_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    pools: Mapping[str, tuple[str, ...]],
) -> Iterator[Site]:
    store = StoreSettings(
        redis_url=redis_url.replace("/0", "/5"),  # of its own: the test reads all of it
        key_prefix=f"s{uuid.uuid4().hex[:8]}:",
        artifacts_url=str(tmp_path / "artifacts"),
        lease_s=6.0,
    )
    authority = Authority(tmp_path)
    cert, key = authority.write("server", addresses=(HOST,))
    tokens_file = tmp_path / "tokens.toml"
    token = new_token(tokens_file, capsys, "--name", "ci")
    expired = new_token(tokens_file, capsys, "--name", "old", "--expires", "2020-01-01")
    metrics = {name: free_address() for name in ("service", *pools)}
    service = ServiceProcess(
        store,
        tmp_path,
        [EXAMPLES],
        pools=["alpha", "beta"],
        address=f"{HOST}:0",
        env={
            "HOTFIRE_SERVICE_DEFAULT_POOL": "alpha",
            "HOTFIRE_SERVICE_TOKENS_FILE": str(tokens_file),
            "HOTFIRE_SERVICE_TLS_CERT_FILE": str(cert),
            "HOTFIRE_SERVICE_TLS_KEY_FILE": str(key),
            "HOTFIRE_SERVICE_METRICS_ADDRESS": metrics["service"],
        },
    )
    workers = {}
    for pool, more in pools.items():
        (tmp_path / pool).mkdir()
        flags = ("--pool", pool, "--devices", "cpu", "--metrics-address", metrics[pool], *more)
        workers[pool] = WorkerProcess(store, tmp_path / pool, {}, flags)
    try:
        service.start()
        for worker in workers.values():
            worker.start()
        yield Site(
            tmp_path, store, authority, tokens_file, service, workers, metrics, token=token, expired=expired
        )
    finally:
        for worker in workers.values():
            worker.end()
        service.end()


@pytest.fixture
def site(redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Site]:
    """With real workers."""
    pools = {"alpha": ("--slots", "2"), "beta": ("--slots", "1")}
    with _site(redis_url, tmp_path, capsys, pools) as made:
        yield made


@pytest.fixture
def front(redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Site]:
    """Service and ledger are real; threads stand in for the workers, and write events as fast as trials do."""
    with _site(redis_url, tmp_path, capsys, {}) as made:
        stop = threading.Event()
        threads = [
            threading.Thread(target=stand_in, args=(made.store, pool, stop))
            for pool in ("alpha", "alpha", "beta")
        ]
        for thread in threads:
            thread.start()
        try:
            yield made
        finally:
            stop.set()
            for thread in threads:
                thread.join(20)


def stand_in(store: StoreSettings, pool: str, stop: threading.Event) -> None:
    """Claims what is queued for a pool, and finishes it after some steps."""
    ledger = Ledger.connect(store)
    name = f"{pool}-{threading.get_ident()}"
    while not stop.wait(0.05):
        ledger.worker_heartbeat({"worker": name, "pool": pool, "device": "cpu", "slots": 1, "busy": 0})
        queued = ledger._redis.srandmember(ledger.keys.pool_queued(pool))
        claim = ledger.claim(queued.decode(), name, pool) if queued else None
        if claim is None:
            continue
        report = report_pb2.Report(verdict=report_pb2.VERDICT_PASS, headline="It trains")
        trial = report.trials.add(name="candidate")
        for number in range(1, 21):
            event = service_pb2.WatchPreflightResponse()
            event.step.trial = "candidate"
            event.step.step.step = trial.steps.add(step=number).step
            assert ledger.append(claim, event)
            time.sleep(0.05)
        assert ledger.finish(claim, state=State.STATE_SUCCEEDED, report=report)
    ledger.close()


class Load:
    """Clients that submit preflights and watch them, one after the other, until told to stop."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(self._work, pool), daemon=True)
            for pool in ("alpha", "alpha", "beta")
        ] + [threading.Thread(target=self._guarded, args=(self._look, ""), daemon=True)]
        self._lock = threading.Lock()
        self.seen: dict[str, list[service_pb2.WatchPreflightResponse]] = {}
        self.pool_of: dict[str, str] = {}
        self.most_busy: dict[str, int] = {}
        self.num_looks = 0
        self.failures: list[str] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> None:
        """No new preflights; those that are running are watched to their end."""
        self._stop.set()
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.1, end - time.monotonic()))
            assert not thread.is_alive(), f"a client hangs; {self.failures}"

    def num_ended(self) -> int:
        with self._lock:
            return sum(bool(events) and is_terminal(events[-1]) for events in self.seen.values())

    def _guarded(self, work: Callable[[str], None], pool: str) -> None:
        try:
            work(pool)
        except Exception:
            self.failures.append(traceback.format_exc())

    def _work(self, pool: str) -> None:
        spec = job("glm4-healthy", "plan.num_steps=3")
        with self._site.client() as client:
            while not self._stop.is_set():
                if pool != "alpha":  # the default pool gets those that name none
                    spec.plan.pool = pool
                handle = client.create_preflight(spec, labels={"control": "canary-control"})
                events: list[service_pb2.WatchPreflightResponse] = []
                with self._lock:
                    self.seen[handle.id], self.pool_of[handle.id] = events, pool
                for event in handle.watch():
                    events.append(event)

    def _look(self, _pool: str) -> None:
        """Somebody who asks all the time, and never gets an error."""
        with self._site.client() as client:
            while not self._stop.wait(0.2):
                for pool in client.list_pools():
                    self.most_busy[pool.name] = max(pool.num_slots_busy, self.most_busy.get(pool.name, 0))
                self.num_looks += 1


def is_terminal(event: service_pb2.WatchPreflightResponse) -> bool:
    return event.WhichOneof("event") == "state" and event.state.HasField("preflight")


def marks(events: list[service_pb2.WatchPreflightResponse]) -> list[tuple[str, str | None, str, int]]:
    return [(e.cursor, e.WhichOneof("event"), e.step.trial, e.step.step.step) for e in events]


def shown(address: str) -> str:
    host, _, port = address.rpartition(":")
    return ssl.get_server_certificate((host, int(port)), timeout=10)


def rotate(site: Site) -> None:
    """A new certificate, under a service that runs."""
    site.authority.write("server", addresses=(HOST,))
    assert shown(site.service.address).strip() == (site.folder / "server.pem").read_text().strip()


def refused_clients(site: Site) -> None:
    """Clients that are turned away, with the token or without: what they are told is kept."""
    for token in (site.expired, site.token + "x", "hotfire_unknown"):
        with site.client(token) as client, pytest.raises(AuthenticationError) as raised:
            client.list_pools()
        site.said += [str(raised.value), repr(raised.value), repr(raised.value.status)]
    for flags in (["--token", site.expired], ["--token", site.token + "x"], []):
        where = ["--server", site.service.address, "--ca-cert", str(site.authority.file)]
        command = run_cli(site.folder, "pools", *where, *flags)
        assert command.code() == 2, command.said
        assert "Traceback" not in command.said
    # Somebody writes the token itself into the file: it is refused without being repeated.
    before = site.tokens_file.read_text()
    site.tokens_file.write_text(before + f'[[token]]\nname = "oops"\nsha256 = "{site.token}"\n')
    time.sleep(1.2)
    with site.client() as client:
        client.list_pools()
    assert "tokens_kept" in (site.folder / "service.log").read_text()
    site.tokens_file.write_text(before)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_while_the_service_is_restarted_and_its_certificate_renewed(site: Site) -> None:
    with site.client() as client:
        pools = {p.name: p for p in client.list_pools()}
    assert {n: (p.num_workers, p.num_slots_free) for n, p in pools.items()} == {
        "alpha": (1, 2),
        "beta": (1, 1),
    }
    # Each slot has a warm process of its own.
    for name, count in (("alpha", 2), ("beta", 1)):
        ready = f'hotfire_worker_warm_processes{{pool="{name}"}} {count}.0'
        wait_for(lambda n=name, r=ready: r in scrape(site.metrics[n]), 180, ready)
    load = under_work(site)
    nothing_lost(site, load)
    # Each pool ran its own, and both slots of alpha worked at a time.
    per_pool = {pool: list(load.pool_of.values()).count(pool) for pool in ("alpha", "beta")}
    for pool, count in per_pool.items():
        done = f'hotfire_worker_preflights_total{{pool="{pool}",result="succeeded"}} {count}.0'
        wait_for(lambda p=pool, d=done: d in scrape(site.metrics[p]), 10, done)
        for name in ("trial_phase_seconds_count", "verdicts_total", "warm_fallbacks_total"):
            assert f"hotfire_worker_{name}{{" in scrape(site.metrics[pool])
    assert load.most_busy["alpha"] == 2
    # The pools of the service are as old as a heartbeat and a look at the ledger.
    for line in (
        'hotfire_workers{pool="beta"} 1.0',
        'hotfire_slots{pool="alpha",state="free"} 2.0',
        'hotfire_requests_total{code="UNAUTHENTICATED",method="ListPools"}',
        'hotfire_reloads_total{outcome="refused",what="tokens"} 1.0',
    ):
        wait_for(lambda wanted=line: wanted in scrape(site.metrics["service"]), 15, line)

    the_dead_leave_the_list(site)
    no_token_anywhere(site)


@pytest.mark.slow  # half a minute
@pytest.mark.timeout(300)
def test_service_and_certificate_come_and_go_and_no_watcher_notices(front: Site) -> None:
    nothing_lost(front, under_work(front))
    no_token_anywhere(front)


def under_work(site: Site) -> Load:
    """The load, while an operator renews the certificate and restarts the service, three times each."""
    load = Load(site)
    load.start()
    for number in range(3):
        goal = load.num_ended() + 2
        wait_for(lambda g=goal: load.num_ended() >= g or load.failures, 120, "the load goes on")
        rotate(site)
        goal = load.num_ended() + 1
        wait_for(lambda g=goal: load.num_ended() >= g or load.failures, 120, "the load goes on")
        if number == 1:
            site.service.kill()  # without a word to anybody
        else:
            site.service.process.send_signal(signal.SIGTERM)
            site.service.process.communicate(timeout=30)
            assert site.service.process.returncode == 0
        site.service.start()
        assert not load.failures, load.failures[0]
    refused_clients(site)
    load.stop(120)
    assert not load.failures, load.failures[0]
    assert load.num_looks > 3  # across two restarts and a kill
    return load


def nothing_lost(site: Site, load: Load) -> None:
    """No failed preflight, no lost event, none twice."""
    assert len(load.seen) >= 9
    for name, events in load.seen.items():
        whole = events[-1].state.preflight
        assert (State.Name(whole.state), whole.attempt) == ("STATE_SUCCEEDED", 1), (name, whole.error)
        assert whole.report.verdict == report_pb2.VERDICT_PASS, (name, whole.report.headline)
        assert marks(events) == marks(stored_events(site.store, name, TENANT)), name
        steps = [e for e in events if e.WhichOneof("event") == "step"]
        assert len(steps) == sum(len(trial.steps) for trial in whole.report.trials) > 0


def the_dead_leave_the_list(site: Site) -> None:
    """A worker that is killed as a whole is gone from ListPools in 15 s."""
    worker = site.workers.pop("beta")
    site.metrics.pop("beta")
    worker.process.kill()
    began = time.monotonic()
    with site.client() as client:
        while next(p for p in client.list_pools() if p.name == "beta").num_workers:
            assert time.monotonic() - began < TRUTH_S
            time.sleep(0.2)
        print(f"gone from ListPools after {time.monotonic() - began:.1f} s")
        alpha = next(p for p in client.list_pools() if p.name == "alpha")
        assert (alpha.num_workers, alpha.num_slots_free + alpha.num_slots_busy) == (1, 2)
    worker.end()


def no_token_anywhere(site: Site) -> None:
    texts = list(site.everything())
    # The search finds what is there.
    assert len(places_of("canary-control", texts)) >= 9
    assert any(name.endswith("service.log") for name in places_of("ListPools", texts))
    if site.workers:
        assert any(name.endswith("worker.log") for name in places_of("ready: pool", texts))
    assert places_of("hotfire_requests_total", texts)
    # `refused_clients` wrote one into the token file, as a mistake, and took it out again.
    for token in (site.token, site.expired):
        assert places_of(token, texts) == []

"""One task against a real ledger, with a scripted runner: every way in which it can end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
from google.rpc import error_details_pb2
from scripted import ScriptedRunner, settings, spec

from hotfire.v1 import preflight_pb2, report_pb2, spec_pb2
from hotfire_service.store import ArtifactStore, AsyncLedger, Ledger, StoreSettings, StoreUnavailable
from hotfire_service.store.calls import NewPreflight
from hotfire_workers.environment import WorkerFacts
from hotfire_workers.runner.base import RunnerError
from hotfire_workers.slots import Slot
from hotfire_workers.task import Post, execute

State = preflight_pb2.State


@pytest.fixture
def ledger(store_settings: StoreSettings):
    made = Ledger.connect(store_settings)
    yield made
    made.close()


@pytest.fixture
def create(store_settings: StoreSettings):
    async def make(preflight_id: str, spec: spec_pb2.PreflightSpec) -> None:
        ledger = AsyncLedger.connect(store_settings)
        new = NewPreflight(
            preflight_id=preflight_id, spec=spec, pool="default", queue_timeout_s=60, body_hash="h"
        )
        await ledger.create(new)
        await ledger.aclose()

    return lambda preflight_id, spec: asyncio.run(make(preflight_id, spec))


@pytest.fixture
def post(tmp_path, ledger, store_settings):
    def make(runner: ScriptedRunner, *, shutting_down: Callable[[], bool] = lambda: False) -> Post:
        return Post(
            worker="w",
            ledger=ledger,
            artifacts=ArtifactStore(settings=store_settings),
            settings=settings(tmp_path, poll_s=0.1),
            slot=Slot(memory_bytes=2**33),
            runner=runner,
            facts=WorkerFacts(pool="default"),
            shutting_down=shutting_down,
        )

    return make


def reason_of(preflight: preflight_pb2.Preflight) -> str:
    info = error_details_pb2.ErrorInfo()
    assert preflight.error.details[0].Unpack(info)
    return info.reason


class Waiting(ScriptedRunner):
    """Its first trial goes on until it is stopped."""

    def __init__(self, on_start: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._on_start = on_start

    def run_trial(self, request, *, on_step=None, should_stop=None):
        self._on_start()
        end = time.monotonic() + 10
        while not should_stop():
            assert time.monotonic() < end, "nobody stopped it"
            time.sleep(0.02)
        return super().run_trial(request, on_step=on_step, should_stop=should_stop)


def test_it_succeeds_once(tmp_path, create, post, ledger):
    create("good", spec(tmp_path))
    assert execute("good", post(ScriptedRunner())) == "succeeded"
    preflight = ledger.get("good")
    assert (State.Name(preflight.state), preflight.attempt) == ("STATE_SUCCEEDED", 1)
    assert preflight.report.verdict == report_pb2.VERDICT_PASS
    assert preflight.report.environment.pool == "default"
    assert ledger.get_row("good", 1).tokens
    assert execute("good", post(ScriptedRunner())) == "nothing"


def test_a_failing_runner_is_told_with_a_reason(tmp_path, create, post, ledger):
    def fail(request):
        raise RunnerError("cannot fork")

    create("runner", spec(tmp_path))
    assert execute("runner", post(ScriptedRunner(trial=fail))) == "failed"
    preflight = ledger.get("runner")
    assert reason_of(preflight) == "RUNNER_FAILED"
    assert not preflight.HasField("report")


def test_a_bug_of_ours_is_told_without_a_traceback(tmp_path, create, post, ledger, caplog):
    def fail(request):
        raise KeyError("private words of a row")

    create("bug", spec(tmp_path))
    assert execute("bug", post(ScriptedRunner(trial=fail))) == "failed"
    error = ledger.get("bug").error
    assert reason_of(ledger.get("bug")) == "INTERNAL"
    assert "KeyError" in error.message
    assert "Traceback" not in str(error)
    assert "private words" not in str(error) + caplog.text


def test_an_artifact_that_is_gone_is_our_failure(tmp_path, create, post, ledger):
    job = spec(tmp_path)
    del job.data.rows[:]
    job.data.artifact = "artifacts/" + "0" * 64
    create("gone", job)
    # The ledger refuses unknown artifacts; here only the file is missing.
    assert execute("gone", post(ScriptedRunner())) == "failed"
    assert reason_of(ledger.get("gone")) == "ARTIFACT_UNUSABLE"


def test_cancelled_it_ends_as_cancelled(tmp_path, create, post, ledger):
    create("cancel", spec(tmp_path))

    async def cancel():
        async_ledger = AsyncLedger.connect(ledger.settings)
        await async_ledger.cancel("cancel")
        await async_ledger.aclose()

    runner = Waiting(lambda: asyncio.run(cancel()))
    assert execute("cancel", post(runner)) == "cancelled"
    assert State.Name(ledger.get("cancel").state) == "STATE_CANCELLED"


def test_a_stopping_worker_gives_it_back_and_the_attempt_does_not_count(tmp_path, create, post, ledger):
    stopping = threading.Event()
    create("preempted", spec(tmp_path))
    assert execute("preempted", post(Waiting(stopping.set), shutting_down=stopping.is_set)) == "preempted"
    preflight = ledger.get("preempted")
    assert (State.Name(preflight.state), preflight.attempt) == ("STATE_QUEUED", 0)


def test_a_lost_claim_writes_nothing(tmp_path, create, post, ledger, store_settings):
    """Somebody else runs it: this worker was taken for dead."""
    create("lost", spec(tmp_path))

    def steal() -> None:
        # As if the lease had run out while this process was stopped.
        ledger._redis.hset(ledger.keys.record("lost"), "lease_ms", 1)
        assert Ledger.connect(store_settings).claim("lost", "other").attempt == 2

    assert execute("lost", post(Waiting(steal))) == "lost"
    preflight = ledger.get("lost")
    assert (State.Name(preflight.state), preflight.attempt) == ("STATE_RUNNING", 2)


def test_a_short_absence_of_redis_costs_nothing(tmp_path, create, post, ledger, monkeypatch):
    create("absent", spec(tmp_path))
    real, until = Ledger.append, []

    def append(self, claim, event):
        until.append(time.monotonic() + 1.0)
        if time.monotonic() < until[0]:
            raise StoreUnavailable("away")
        return real(self, claim, event)

    monkeypatch.setattr(Ledger, "append", append)
    assert execute("absent", post(ScriptedRunner())) == "succeeded"
    assert ledger.get("absent").report.verdict == report_pb2.VERDICT_PASS

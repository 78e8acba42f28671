"""Claims, fencing, release, cancel, delete, quotas, artifacts: the scripts on a real Valkey."""

import asyncio

import pytest

from hotfire.v1 import preflight_pb2, report_pb2, spec_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service.store import ConflictError, NotFoundError, QuotaError, RunningError, UnknownArtifactError
from hotfire_service.store.calls import NewPreflight

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = 1, 2, 3, 4, 5


def new(preflight_id="a", **fields) -> NewPreflight:
    given = {
        "spec": spec_pb2.PreflightSpec(),
        "pool": "default",
        "queue_timeout_s": 60,
        "body_hash": "h",
        **fields,
    }
    return NewPreflight(preflight_id=preflight_id, **given)


def progress(message: str) -> service_pb2.WatchPreflightResponse:
    return service_pb2.WatchPreflightResponse(progress=preflight_pb2.Progress(message=message))


async def kinds(aledger, key="a") -> list[str]:
    events, _ = await aledger.events_after(key, 0)
    return [
        preflight_pb2.State.Name(e.response.state.state)[6:]
        if e.response.WhichOneof("event") == "state"
        else e.response.WhichOneof("event")
        for e in events
    ]


async def test_the_whole_life(aledger, worker):
    assert await aledger.create(new(labels={"k": "v"}, progress=preflight_pb2.Progress(message="q"))) == (
        "a",
        True,
    )
    claim = worker.claim("a")
    assert claim.attempt == 1
    assert claim.preflight.state == RUNNING
    assert claim.preflight.labels["k"] == "v"
    assert worker.ledger.renew(claim)
    assert worker.ledger.append(claim, progress("half"))
    assert (await aledger.get("a")).progress.message == "half"
    assert worker.ledger.put_rows(claim, [report_pb2.Sample(row=7, why="longest")])
    assert (await aledger.get_row("a", 7)).why == "longest"
    assert worker.finish(claim)
    preflight = await aledger.get("a")
    assert preflight.state == SUCCEEDED
    assert preflight.report.headline == "It trains"
    assert not preflight.HasField("progress")
    times = [preflight.create_time, preflight.start_time, preflight.end_time, preflight.expire_time]
    stamps = [t.ToMilliseconds() for t in times]
    assert stamps == sorted(stamps)
    assert await kinds(aledger) == ["QUEUED", "progress", "RUNNING", "progress", "SUCCEEDED"]


async def test_a_finished_claim_writes_nothing_more(aledger, worker):
    await aledger.create(new())
    claim = worker.claim("a")
    worker.finish(claim)
    assert not worker.ledger.renew(claim)
    assert not worker.ledger.append(claim, progress("late"))
    assert not worker.finish(claim)
    assert worker.claim("a") is None


async def test_only_one_of_many_gets_it(aledger, worker):
    await aledger.create(new())
    claims = await asyncio.gather(*(asyncio.to_thread(worker.claim, "a") for _ in range(8)))
    assert sum(c is not None for c in claims) == 1


async def test_a_worker_of_another_pool_does_not_get_it(aledger, worker):
    await aledger.create(new())
    assert worker.ledger.claim("a", "w", "h100") is None
    assert worker.claim("a") is not None
    assert worker.claim("never-heard-of") is None


async def test_release_after_an_operators_restart_does_not_count(aledger, worker):
    await aledger.create(new())
    first = worker.claim("a")
    assert worker.ledger.release(first, requeue=True, preempted=True)
    assert (await aledger.get("a")).state == QUEUED
    second = worker.claim("a")
    assert second.attempt == 1
    # The same attempt number, but the old claim is still fenced off.
    assert not worker.ledger.append(first, progress("old"))
    assert worker.ledger.append(second, progress("new"))
    assert worker.ledger.release(second, requeue=True)
    assert worker.claim("a").attempt == 2


async def test_cancel(aledger, worker):
    await aledger.create(new())
    assert await aledger.cancel("a") == QUEUED
    assert (await aledger.get("a")).state == CANCELLED
    assert await aledger.cancel("a") == CANCELLED
    assert worker.claim("a") is None

    await aledger.create(new("b"))
    claim = worker.claim("b")
    assert not worker.ledger.cancel_requested("b")
    assert await aledger.cancel("b") == RUNNING
    assert await aledger.cancel("b") == RUNNING
    assert worker.ledger.cancel_requested("b")
    assert worker.ledger.finish(claim, state=preflight_pb2.STATE_CANCELLED)
    assert await kinds(aledger, "b") == ["QUEUED", "RUNNING", "progress", "CANCELLED"]


async def test_delete(aledger, worker):
    with pytest.raises(NotFoundError):
        await aledger.delete("a")
    await aledger.create(new(request_id="r"))
    claim = worker.claim("a")
    with pytest.raises(RunningError):
        await aledger.delete("a")
    worker.finish(claim)
    await aledger.delete("a")
    with pytest.raises(NotFoundError):
        await aledger.get("a")
    left = [k.decode() for k in await aledger.redis.keys(f"{aledger.keys.prefix}*")]
    assert [k for k in left if ":cache:" not in k] == []
    assert await aledger.create(new(request_id="r", body_hash="other")) == ("a", True)


async def test_idempotency(aledger):
    assert await aledger.create(new("a", request_id="r")) == ("a", True)
    assert await aledger.create(new("b", request_id="r")) == ("a", False)
    assert await aledger.create(new("a", request_id="other")) == ("a", False)
    with pytest.raises(ConflictError, match="request_id"):
        await aledger.create(new("b", request_id="r", body_hash="x"))
    with pytest.raises(ConflictError, match="preflight_id"):
        await aledger.create(new("a", request_id="r2", body_hash="x"))
    assert await aledger.create(new("a", tenant="team-b", body_hash="x")) == ("team-b.a", True)


async def test_quota_counts_what_is_not_finished(aledger, worker):
    await aledger.create(new("a", max_active=2))
    await aledger.create(new("b", max_active=2))
    with pytest.raises(QuotaError):
        await aledger.create(new("c", max_active=2))
    await aledger.create(new("c", max_active=2, tenant="team-b"))
    worker.finish(worker.claim("a"))
    await aledger.create(new("c", max_active=2))


async def test_artifacts_must_be_there(aledger):
    sha = "ab" * 32
    with pytest.raises(UnknownArtifactError):
        await aledger.create(new(artifacts=[sha]))
    await aledger.pin_artifact("default", sha, kind=1)
    assert await aledger.artifact_kinds("default", sha) == {1}
    assert await aledger.artifact_kinds("team-b", sha) == set()
    await aledger.create(new(artifacts=[sha]))


async def test_a_large_report_is_refused_before_it_is_written(aledger, worker):
    await aledger.create(new())
    claim = worker.claim("a")
    report = report_pb2.Report(headline="x" * (2**21 + 1))
    with pytest.raises(ValueError, match="limit"):
        worker.ledger.finish(claim, state=preflight_pb2.STATE_SUCCEEDED, report=report)
    with pytest.raises(ValueError, match="terminal"):
        worker.ledger.finish(claim, state=preflight_pb2.STATE_RUNNING)
    assert worker.ledger.renew(claim)


async def test_pools(aledger, worker):
    assert await aledger.pools() == []
    worker.beat()
    await aledger.create(new())
    (pool,) = await aledger.pools()
    assert (pool.name, pool.device, pool.num_devices_per_slot) == ("default", "cpu", 2)
    assert (pool.num_slots_free, pool.num_slots_busy, pool.num_workers) == (2, 1, 1)
    assert (pool.num_queued, pool.num_running) == (1, 0)
    assert dict(pool.versions) == {"torch": "2.13.0"}
    worker.claim("a")
    worker.ledger.worker_gone("fake")
    (pool,) = worker.ledger.pools()
    assert (pool.num_workers, pool.num_queued, pool.num_running) == (0, 0, 1)
    assert not pool.HasField("device")


async def test_expired_is_not_found_before_the_reaper_comes(aledger, worker, store_settings):
    aledger.settings.record_ttl_s = 0.05
    await aledger.create(new())
    worker.finish(worker.claim("a"))
    await asyncio.sleep(0.1)
    with pytest.raises(NotFoundError):
        await aledger.get("a")
    assert await aledger.earlier("default", "", "a", "h") is None
    assert await aledger.create(new()) == ("a", True)

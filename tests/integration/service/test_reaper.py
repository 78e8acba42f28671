"""Lost workers, time-outs, lost messages, expiry: with short times."""

import asyncio

import pytest
from google.rpc import error_details_pb2

from hotfire.v1 import preflight_pb2, spec_pb2
from hotfire_service.store import ArtifactStore, NotFoundError
from hotfire_service.store.calls import NewPreflight
from hotfire_service.store.reaper import Reaper


@pytest.fixture
def store_settings(store_settings):
    return store_settings.model_copy(update={"lease_s": 0.2, "record_ttl_s": 0.3, "artifact_ttl_s": 0.3})


@pytest.fixture
def reaper(aledger, store_settings):
    sent: list[tuple[str, str]] = []

    async def send(key: str, pool: str) -> None:
        sent.append((key, pool))

    reaper = Reaper(aledger, ArtifactStore(settings=store_settings), send, interval_s=0.1)
    reaper.messages = sent
    return reaper


def new(preflight_id="a", **fields) -> NewPreflight:
    given = {
        "spec": spec_pb2.PreflightSpec(),
        "pool": "default",
        "queue_timeout_s": 60,
        "body_hash": "h",
        **fields,
    }
    return NewPreflight(preflight_id=preflight_id, **given)


async def test_a_lost_worker_is_replaced_and_the_third_loss_is_the_end(aledger, worker, reaper):
    await aledger.create(new())
    await aledger.mark_sent("a")
    for attempt in (1, 2, 3):
        claim = worker.claim("a")
        assert claim.attempt == attempt
        assert (await reaper.sweep()).requeued == []
        await asyncio.sleep(0.25)
        swept = await reaper.sweep()
        if attempt < 3:
            assert swept.requeued == swept.sent == ["a"]
            assert (await aledger.get("a")).state == preflight_pb2.STATE_QUEUED
        assert not worker.ledger.renew(claim)
    assert swept.failed == ["a"]
    assert reaper.messages == [("a", "default")] * 2
    preflight = await aledger.get("a")
    assert preflight.state == preflight_pb2.STATE_FAILED
    info = error_details_pb2.ErrorInfo()
    assert preflight.error.details[0].Unpack(info)
    assert (info.reason, info.metadata["attempts"]) == ("WORKER_LOST", "3")


async def test_a_redelivered_message_takes_over_from_a_lost_worker(aledger, worker):
    await aledger.create(new())
    first = worker.claim("a")
    assert worker.claim("a") is None
    await asyncio.sleep(0.25)
    second = worker.claim("a")
    assert second.attempt == 2
    assert not worker.step(first, 1)
    assert worker.step(second, 1)


async def test_a_renewed_lease_is_left_alone(aledger, worker, reaper):
    await aledger.create(new())
    claim = worker.claim("a")
    for _ in range(4):
        await asyncio.sleep(0.1)
        assert worker.ledger.renew(claim)
        assert (await reaper.sweep()).requeued == []


async def test_a_worker_lost_while_cancelling(aledger, worker, reaper):
    await aledger.create(new())
    worker.claim("a")
    await aledger.cancel("a")
    await asyncio.sleep(0.25)
    assert (await reaper.sweep()).cancelled == ["a"]
    assert (await aledger.get("a")).state == preflight_pb2.STATE_CANCELLED


async def test_a_given_up_claim_counts_as_lost_at_once(aledger, worker, reaper):
    await aledger.create(new())
    assert worker.ledger.release(worker.claim("a"), requeue=False)
    assert (await reaper.sweep()).requeued == ["a"]


async def test_not_started_in_time(aledger, worker, reaper):
    await aledger.create(new(queue_timeout_s=0.1))
    await asyncio.sleep(0.15)
    assert (await reaper.sweep()).expired == ["a"]
    assert (await aledger.get("a")).state == preflight_pb2.STATE_EXPIRED
    assert worker.claim("a") is None


async def test_lost_and_never_taken_again(aledger, worker, reaper):
    await aledger.create(new(queue_timeout_s=0.1))
    worker.claim("a")
    await asyncio.sleep(0.25)
    assert (await reaper.sweep()).requeued == ["a"]
    await asyncio.sleep(0.15)
    assert (await reaper.sweep()).failed == ["a"]
    assert (await aledger.get("a")).state == preflight_pb2.STATE_FAILED


async def test_a_message_that_was_never_sent(aledger, reaper, monkeypatch):
    await aledger.create(new())
    assert (await reaper.sweep()).sent == []
    monkeypatch.setattr("hotfire_service.store.reaper._UNSENT_AFTER_S", 0.0)
    assert (await reaper.sweep()).sent == ["a"]
    assert (await reaper.sweep()).sent == []


async def test_a_message_that_vanished(aledger, worker, reaper, monkeypatch):
    worker.beat()
    await aledger.create(new())
    await aledger.mark_sent("a")
    monkeypatch.setattr("hotfire_service.store.reaper._RESEND_AFTER_S", 0.05)
    await asyncio.sleep(0.1)
    assert (await reaper.sweep()).sent == ["a"]
    # As long as the broker holds any message of the pool, nothing is sent twice.
    await aledger.redis.rpush(f"{aledger.keys.broker_prefix}pool.default", "x")
    await asyncio.sleep(0.1)
    assert (await reaper.sweep()).sent == []


async def test_records_and_their_artifacts_go(aledger, worker, reaper, store_settings):
    artifacts = ArtifactStore(settings=store_settings)
    name = artifacts.put(b"rows", max_bytes=100)
    sha = name.removeprefix("artifacts/")
    await aledger.pin_artifact("default", sha, kind=1)
    await aledger.create(new(artifacts=[sha]))
    await asyncio.sleep(0.35)
    # Its own time is over, but a queued preflight names it.
    assert (await reaper.sweep()).artifacts == []
    assert artifacts.exists(name)
    worker.finish(worker.claim("a"))
    await asyncio.sleep(0.35)
    swept = await reaper.sweep()
    assert swept.removed == ["a"]
    assert swept.artifacts == [f"default:{sha}"]
    assert not artifacts.exists(name)
    assert await aledger.artifact_kinds("default", sha) == set()
    with pytest.raises(NotFoundError):
        await aledger.get("a")


async def test_an_artifact_stays_while_another_names_it(aledger, worker, reaper, store_settings):
    artifacts = ArtifactStore(settings=store_settings)
    sha = artifacts.put(b"rows", max_bytes=100).removeprefix("artifacts/")
    await aledger.pin_artifact("default", sha, kind=1)
    await aledger.create(new("a", artifacts=[sha]))
    await aledger.create(new("b", artifacts=[sha]))
    await aledger.delete("a")
    assert await reaper.sweep_artifacts() == []
    await aledger.delete("b")
    assert await reaper.sweep_artifacts() == [f"default:{sha}"]
    assert not artifacts.exists(sha)


async def test_one_reaper_at_a_time(aledger, worker, reaper, store_settings):
    other = Reaper(aledger, ArtifactStore(settings=store_settings), reaper._send, interval_s=0.1)
    assert await reaper._is_mine()
    assert not await other._is_mine()
    await reaper.stop()
    assert await other._is_mine()


async def test_it_runs_by_itself(aledger, worker, reaper):
    await aledger.create(new())
    worker.claim("a")
    task = asyncio.create_task(reaper.run())
    for _ in range(250):
        if (await aledger.get("a")).state == preflight_pb2.STATE_QUEUED:
            break
        await asyncio.sleep(0.02)
    task.cancel()
    assert worker.claim("a").attempt == 2

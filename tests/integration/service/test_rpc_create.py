"""CreatePreflight over a socket: the three answers, idempotency, quota, inline rows."""

import asyncio
import json

import grpc
import pytest

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Finding, Severity
from hotfire.v1 import preflight_pb2, report_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service.store import ArtifactStore, queue_name

INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def test_it_is_queued_and_the_message_carries_only_the_id(stub, make_request, aledger):
    response = await stub.CreatePreflight(make_request(preflight_id="run-1", labels={"team": "a"}))
    preflight = response.preflight
    assert preflight.name == "preflights/run-1"
    assert preflight.state == preflight_pb2.STATE_QUEUED
    assert "no worker of the pool 'default' is alive" in preflight.progress.message
    assert dict(preflight.labels) == {"team": "a"}
    queue = aledger.keys.broker_prefix + queue_name("default")
    (message,) = await aledger.redis.lrange(queue, 0, -1)
    message = json.loads(message)
    assert message["headers"]["task"] == "hotfire.run_preflight"
    assert message["headers"]["id"] == "run-1"
    assert "hello" not in str(message)


async def test_inline_rows_become_an_artifact(stub, make_request, store_settings, tmp_path):
    request = make_request()
    request.spec.data.rows.add().update({"text": "zwölf", "n": 3, "x": 1.5})
    data = (await stub.CreatePreflight(request)).preflight.spec.data
    assert not data.rows
    file = ArtifactStore(settings=store_settings).fetch(data.artifact, tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert rows == [{"text": "hello"}, {"text": "zwölf", "n": 3, "x": 1.5}]
    assert '"n": 3' in file.read_text()


async def test_all_violations_at_once_and_nothing_stored(stub, make_request, details):
    request = make_request(preflight_id="Bad Id")
    request.spec.model.path = "/etc/model"
    request.spec.data.artifact = "artifacts/" + "ab" * 32
    request.spec.plan.num_steps = -1
    request.spec.plan.pool = "h100"
    request.spec.cluster.num_gpus = -4
    request.spec.ClearField("deepspeed")
    request.spec.MergeFromString(b"\x98\x3f\x01")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.CreatePreflight(request)
    assert error.value.code() is INVALID
    fields = [v.field for v in details(error.value)["BadRequest"].field_violations]
    assert fields == [
        "spec",
        "preflight_id",
        "spec.model.path",
        "spec.data",
        "spec.deepspeed",
        "spec.plan.num_steps",
        "spec.cluster.num_gpus",
        "spec.data.artifact",
        "spec.plan.pool",
    ]
    assert not (await stub.ListPreflights(service_pb2.ListPreflightsRequest())).preflights


async def test_an_empty_request(stub, details):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.CreatePreflight(service_pb2.CreatePreflightRequest())
    assert [v.field for v in details(error.value)["BadRequest"].field_violations] == ["spec"]


async def test_unknown_pool_names_the_known_ones(stub, make_request, worker, details):
    worker.pool = "h100"
    worker.beat()
    request = make_request()
    request.spec.plan.pool = "h1000"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.CreatePreflight(request)
    (violation,) = details(error.value)["BadRequest"].field_violations
    assert "known: default, h100" in violation.description
    request.spec.plan.pool = "h100"
    preflight = (await stub.CreatePreflight(request)).preflight
    assert preflight.progress.message == "queued in the pool 'h100'"


async def test_same_request_twice_is_one_preflight(stub, make_request, details):
    request = make_request(request_id="r-1")
    first = (await stub.CreatePreflight(request)).preflight
    assert (await stub.CreatePreflight(request)).preflight.name == first.name
    request.labels["other"] = "body"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.CreatePreflight(request)
    assert error.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert details(error.value)["ResourceInfo"].resource_name == "r-1"


async def test_same_preflight_id_with_another_body(stub, make_request, details):
    await stub.CreatePreflight(make_request(preflight_id="x", request_id="1"))
    assert await stub.CreatePreflight(make_request(preflight_id="x", request_id="2"))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.CreatePreflight(make_request(preflight_id="x", labels={"a": "b"}))
    assert error.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_a_repeated_request_is_answered_even_when_its_rows_are_gone(
    stub, make_request, worker, aledger
):
    request = make_request(request_id="r", preflight_id="p")
    first = (await stub.CreatePreflight(request)).preflight
    await worker.run("p")
    sha = first.spec.data.artifact.removeprefix("artifacts/")
    await aledger.redis.delete(aledger.keys.artifact("default", sha))
    assert (await stub.CreatePreflight(request)).preflight.state == preflight_pb2.STATE_SUCCEEDED


async def test_many_at_once_with_one_request_id(stub, make_request):
    answers = await asyncio.gather(*(stub.CreatePreflight(make_request(request_id="r")) for _ in range(10)))
    assert len({a.preflight.name for a in answers}) == 1
    assert len((await stub.ListPreflights(service_pb2.ListPreflightsRequest())).preflights) == 1


async def test_validate_only_stores_nothing(stub, make_request, aledger):
    preflight = (await stub.CreatePreflight(make_request(preflight_id="v", validate_only=True))).preflight
    assert preflight.state == preflight_pb2.STATE_QUEUED
    assert preflight.spec.data.artifact
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.GetPreflight(service_pb2.GetPreflightRequest(name="preflights/v"))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    assert await aledger.redis.zcard(aledger.keys.artifacts) == 0


@pytest.mark.parametrize("service_settings", [{"max_active": 2}], indirect=True)
async def test_quota(stub, make_request, details):
    for _ in range(2):
        await stub.CreatePreflight(make_request())
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.CreatePreflight(make_request())
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    found = details(error.value)
    assert found["QuotaFailure"].violations[0].subject == "tenant:default"
    assert found["ErrorInfo"].metadata["limit"] == "2"
    assert found["RetryInfo"].retry_delay.seconds > 0


class _Blocks(Rule):
    """Blocks every start.

    Why: it is a test. Example: any. Fix: none. Source: here.
    """

    id, name, severity, needs, blocks_start = "C901", "test-blocks", Severity.ERROR, ("config",), True

    def examine(self, _evidence):
        yield Finding(message="this cannot start")


async def test_a_job_that_cannot_start_is_finished_at_once(stub, make_request, aledger, monkeypatch):
    monkeypatch.setattr("hotfire.rules.registry.RULES", (_Blocks(),))
    preflight = (await stub.CreatePreflight(make_request(preflight_id="b"))).preflight
    assert preflight.state == preflight_pb2.STATE_SUCCEEDED
    assert preflight.report.verdict == report_pb2.VERDICT_FAIL
    assert preflight.report.headline.startswith("this cannot start")
    assert preflight.end_time.ToMilliseconds() >= preflight.create_time.ToMilliseconds()
    events = [e async for e in stub.WatchPreflight(service_pb2.WatchPreflightRequest(name=preflight.name))]
    assert [e.state.state for e in events] == [preflight_pb2.STATE_SUCCEEDED]
    assert events[0].state.preflight.report.verdict == report_pb2.VERDICT_FAIL
    assert await aledger.redis.llen(aledger.keys.broker_prefix + queue_name("default")) == 0


@pytest.fixture
def model_file(tmp_path, worker):
    """The model that requests name, and a worker whose libraries are known."""
    worker.beat()
    file = tmp_path / "model" / "config.json"
    file.parent.mkdir()
    file.write_text("{}")
    return file


async def test_an_answer_from_before(stub, make_request, worker, model_file):
    request = make_request(preflight_id="first")
    await stub.CreatePreflight(request)
    await worker.run("first", headline="It trains well")
    request = make_request(preflight_id="second")
    assert (await stub.CreatePreflight(request)).preflight.state == preflight_pb2.STATE_QUEUED
    request = make_request(preflight_id="third")
    request.spec.plan.allow_cached = True
    preflight = (await stub.CreatePreflight(request)).preflight
    assert preflight.cached_from == "preflights/first"
    assert preflight.report.headline == "It trains well"
    request = make_request(preflight_id="fourth")
    request.spec.plan.allow_cached = True
    request.spec.plan.num_steps = 9
    assert (await stub.CreatePreflight(request)).preflight.state == preflight_pb2.STATE_QUEUED


@pytest.mark.parametrize("change", ["content", "libraries", "unseen"])
async def test_no_answer_from_before_for_another_model_or_other_libraries(
    stub, make_request, worker, model_file, change
):
    await stub.CreatePreflight(make_request(preflight_id="first"))
    await worker.run("first")
    request = make_request(preflight_id="second")
    request.spec.plan.allow_cached = True
    if change == "content":
        model_file.write_text('{"vocab_size": 7}')
    elif change == "libraries":
        worker.beat(torch="2.14.0")
    else:
        model_file.unlink()
    assert (await stub.CreatePreflight(request)).preflight.state == preflight_pb2.STATE_QUEUED


async def test_what_cannot_be_seen_from_here_is_never_answered_from_before(stub, make_request, worker):
    worker.beat()
    for name in ("first", "second"):
        request = make_request(preflight_id=name)
        request.spec.plan.allow_cached = True
        assert (await stub.CreatePreflight(request)).preflight.state == preflight_pb2.STATE_QUEUED
        await worker.run(name)


async def test_an_unexpected_error_shows_nothing(stub, make_request, details, monkeypatch):
    def explode(_spec):
        raise RuntimeError("row text: my secret")

    monkeypatch.setattr("hotfire_service.admission.admit.check_start", explode)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.CreatePreflight(make_request())
    assert error.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in error.value.details()
    assert details(error.value)["ErrorInfo"].metadata["correlation_id"] in error.value.details()

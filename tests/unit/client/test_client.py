import time

import grpc
import pytest

import hotfire
from hotfire import aio, check
from hotfire.client import Client
from hotfire.errors import (
    DeadlineError,
    NoReportError,
    PreconditionError,
    SettingsError,
    SpecError,
    UnavailableError,
    VerdictError,
)
from hotfire.v1 import preflight_pb2


def test_a_check_from_file_to_report(service, address, job):
    report = check(job, server=address)
    assert report.verdict == "FAIL"
    assert not report.ok
    with pytest.raises(VerdictError, match="Every answer"):
        report.raise_for_verdict()
    (request,) = service.named("CreatePreflight")
    assert request.spec.model.path == str(job / "model")
    assert request.spec.data.uri == f"file://{job}/data.jsonl"
    assert request.spec.deepspeed.config_json == (job / "ds_config.json").read_text()
    assert not service.named("GetServerInfo")  # nothing to upload on loopback


def test_a_check_from_parts(service, address, job):
    check(
        model=str(job / "model"),
        data=({"text": str(i)} for i in range(3)),
        deepspeed={"zero_optimization": {"stage": 2}},
        training={"max_steps": 5},
        cluster={"num_gpus": 64},
        server=address,
    )
    spec = service.named("CreatePreflight")[0].spec
    assert [row["text"] for row in spec.data.rows] == ["0", "1", "2"]
    assert spec.cluster.num_gpus == 64
    with pytest.raises(TypeError, match="not both"):
        check(job, model="m", server=address)
    with pytest.raises(SpecError) as raised:
        check(model=str(job / "model"), server=address)
    assert {v.field for v in raised.value.violations} == {"data", "deepspeed"}


def test_unavailable_is_retried_with_the_same_request_id(service, address, job):
    service.faults["CreatePreflight"] = [grpc.StatusCode.UNAVAILABLE] * 2
    with Client(address) as client:
        handle = client.create_preflight(job, preflight_id="mine", labels={"branch": "main"})
    assert handle.name == "preflights/mine"
    requests = service.named("CreatePreflight")
    assert len(requests) == 3
    assert len({r.request_id for r in requests}) == 1
    assert requests[0].labels == {"branch": "main"}


def test_other_errors_are_not_retried(service, address):
    service.faults["DeletePreflight"] = [grpc.StatusCode.FAILED_PRECONDITION]
    with Client(address) as client, pytest.raises(PreconditionError):
        client.delete_preflight("p1")
    assert len(service.named("DeletePreflight")) == 1


def test_an_unreachable_server_is_named_and_soon_given_up():
    began = time.monotonic()
    with Client("127.0.0.1:1") as client, pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
        client.list_pools()
    assert time.monotonic() - began < 15


def test_deadlines(service, address, monkeypatch):
    monkeypatch.setattr(service, "GetPreflight", None, raising=False)
    slow, port = _slow_server(service)
    try:
        with Client(f"127.0.0.1:{port}", deadline_s=0.3) as client, pytest.raises(DeadlineError):
            client.get_preflight("p1")
    finally:
        slow.stop(None).wait()


def _slow_server(service):
    from concurrent import futures

    from hotfire.v1 import preflight_service_pb2 as service_pb2
    from hotfire.v1 import preflight_service_pb2_grpc

    class Slow(preflight_service_pb2_grpc.PreflightServiceServicer):
        def GetPreflight(self, request, context):  # noqa: N802
            time.sleep(1.0)
            return service_pb2.GetPreflightResponse()

    server = grpc.server(futures.ThreadPoolExecutor(2))
    preflight_service_pb2_grpc.add_PreflightServiceServicer_to_server(Slow(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def test_lists_follow_the_pages(service, address):
    with Client(address) as client:
        names = [p.name for p in client.list_preflights(state="running", verdict="VERDICT_FAIL")]
        assert names == ["preflights/a", "preflights/b", "preflights/c"]
        first = service.named("ListPreflights")[0]
        assert (first.state, first.verdict) == (preflight_pb2.STATE_RUNNING, 3)
        with pytest.raises(ValueError, match="succeeded"):
            list(client.list_preflights(state="done"))


def test_the_small_calls(service, address):
    with Client(address) as client:
        assert client.cancel_preflight("p1").state == preflight_pb2.STATE_CANCELLED
        client.delete_preflight("preflights/p1")
        assert service.named("DeletePreflight")[0].name == "preflights/p1"
        assert client.get_row("p1", 3).row == 3
        assert client.list_pools()[0].name == "default"
        assert client.get_server_info().version == "1"


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("FAILED", "failed on our side: boom"),
        ("CANCELLED", "was cancelled"),
        ("EXPIRED", "no worker was free"),
    ],
)
def test_an_end_without_report_is_an_exception(service, address, state, text):
    service.result = preflight_pb2.Preflight(
        name="preflights/p1", state=preflight_pb2.State.Value(f"STATE_{state}")
    )
    service.result.error.message = "boom"
    with Client(address) as client, pytest.raises(NoReportError, match=text) as raised:
        client.preflight("p1").result()
    assert raised.value.preflight.name == "preflights/p1"


def test_result_does_not_wait_for_ever(service, address):
    service.result = preflight_pb2.Preflight(name="preflights/p1", state=preflight_pb2.STATE_RUNNING)
    with Client(address) as client, pytest.raises(TimeoutError, match="hotfire watch"):
        client.preflight("p1").result(timeout=0.2)


def test_waiting_survives_a_server_that_is_away(service, address):
    service.faults["WaitPreflight"] = [grpc.StatusCode.UNAVAILABLE] * 7
    with Client(address) as client:
        assert client.preflight("p1").result().verdict == "FAIL"


async def test_the_asyncio_twin(service, address, job):
    service.faults["WaitPreflight"] = [grpc.StatusCode.UNAVAILABLE] * 6
    async with aio.Client(address) as client:
        report = await client.check(job)
        assert report.verdict == "FAIL"
        names = [p.name async for p in client.list_preflights()]
        assert len(names) == 3
        handle = client.preflight("p1")
        await handle.cancel()
        assert handle.state == "CANCELLED"
        await handle.delete()
        assert (await client.get_row("p1", 3)).row == 3
        assert (await client.list_pools())[0].name == "default"
        service.faults["GetPreflight"] = [grpc.StatusCode.FAILED_PRECONDITION]
        with pytest.raises(PreconditionError):
            await handle.refresh()


def test_settings_errors_come_before_any_call(job):
    with pytest.raises(SettingsError):
        check(job, server="host:port")


def test_the_twins_have_the_same_methods():
    def public(cls):
        return {name for name in dir(cls) if not name.startswith("_")}

    assert public(Client) == public(aio.Client)
    assert public(hotfire.PreflightHandle) == public(aio.PreflightHandle)

"""Get, List, Cancel, Delete, GetRow, the catalogue."""

import asyncio

import grpc
import pytest

from hotfire.v1 import preflight_pb2, report_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service.store import ArtifactStore


async def code_of(call) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code()


async def test_not_found_and_bad_names(stub, details):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.GetPreflight(service_pb2.GetPreflightRequest(name="preflights/none"))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    assert details(error.value)["ResourceInfo"].resource_name == "preflights/none"
    for call in (
        stub.CancelPreflight(service_pb2.CancelPreflightRequest(name="preflights/none")),
        stub.DeletePreflight(service_pb2.DeletePreflightRequest(name="preflights/none")),
        stub.WaitPreflight(service_pb2.WaitPreflightRequest(name="preflights/none")),
        stub.GetRow(service_pb2.GetRowRequest(name="preflights/none", row=1)),
    ):
        assert await code_of(call) is grpc.StatusCode.NOT_FOUND
    call = stub.GetPreflight(service_pb2.GetPreflightRequest(name="none"))
    assert await code_of(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_list_pages_newest_first(stub, make_request):
    names = [f"run-{i:02}" for i in range(7)]
    for name in names:
        await stub.CreatePreflight(make_request(preflight_id=name))
    seen, token = [], ""
    for _ in range(10):
        page = await stub.ListPreflights(service_pb2.ListPreflightsRequest(page_size=3, page_token=token))
        seen += [p.name.removeprefix("preflights/") for p in page.preflights]
        token = page.next_page_token
        if not token:
            break
    assert seen == names[::-1]


async def test_a_page_goes_on_where_the_last_record_was_deleted(stub, make_request):
    for i in range(4):
        await stub.CreatePreflight(make_request(preflight_id=f"run-{i}"))
    page = await stub.ListPreflights(service_pb2.ListPreflightsRequest(page_size=2))
    await stub.DeletePreflight(service_pb2.DeletePreflightRequest(name=page.preflights[-1].name))
    rest = await stub.ListPreflights(
        service_pb2.ListPreflightsRequest(page_size=2, page_token=page.next_page_token)
    )
    assert [p.name for p in rest.preflights] == ["preflights/run-1", "preflights/run-0"]


async def test_list_filters_and_leaves_out_what_is_large(stub, make_request, worker):
    for name, team in (("a", "x"), ("b", "x"), ("c", "y")):
        await stub.CreatePreflight(make_request(preflight_id=name, labels={"team": team}))
    await worker.run("a", verdict=report_pb2.VERDICT_FAIL, headline="bad")
    await worker.run("c")

    async def names(**query) -> list[str]:
        page = await stub.ListPreflights(service_pb2.ListPreflightsRequest(**query))
        return [p.name[-1] for p in page.preflights]

    assert await names() == ["c", "b", "a"]
    assert await names(state=preflight_pb2.STATE_QUEUED) == ["b"]
    assert await names(verdict=report_pb2.VERDICT_FAIL) == ["a"]
    assert await names(labels={"team": "x"}) == ["b", "a"]
    assert await names(labels={"team": "x"}, state=preflight_pb2.STATE_SUCCEEDED) == ["a"]
    assert await names(labels={"team": "z"}) == []
    page = await stub.ListPreflights(service_pb2.ListPreflightsRequest(labels={"team": "x"}))
    failed = page.preflights[1]
    assert failed.report == report_pb2.Report(verdict=report_pb2.VERDICT_FAIL, headline="bad")
    assert not failed.spec.data.rows


async def test_bad_list_requests(stub, details):
    for query in ({"page_token": "???"}, {"page_size": -1}, {"state": 77}):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.ListPreflights(service_pb2.ListPreflightsRequest(**query))
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert [v.field for v in details(error.value)["BadRequest"].field_violations] == list(query)


async def test_cancel_queued_running_finished(stub, make_request, worker):
    await stub.CreatePreflight(make_request(preflight_id="a"))
    cancel = service_pb2.CancelPreflightRequest(name="preflights/a")
    for _ in range(2):
        assert (await stub.CancelPreflight(cancel)).preflight.state == preflight_pb2.STATE_CANCELLED

    await stub.CreatePreflight(make_request(preflight_id="b"))
    claim = worker.claim("b")
    cancel = service_pb2.CancelPreflightRequest(name="preflights/b")
    preflight = (await stub.CancelPreflight(cancel)).preflight
    assert preflight.state == preflight_pb2.STATE_RUNNING
    assert preflight.progress.phase == "cancel"
    assert worker.ledger.cancel_requested("b")
    worker.ledger.finish(claim, state=preflight_pb2.STATE_CANCELLED)
    assert (await stub.CancelPreflight(cancel)).preflight.state == preflight_pb2.STATE_CANCELLED

    await stub.CreatePreflight(make_request(preflight_id="c"))
    await worker.run("c")
    cancel = service_pb2.CancelPreflightRequest(name="preflights/c")
    assert (await stub.CancelPreflight(cancel)).preflight.state == preflight_pb2.STATE_SUCCEEDED


@pytest.mark.parametrize("service_settings", [{"revoke_after_s": 0.1}], indirect=True)
async def test_what_does_not_stop_is_revoked(server, stub, make_request, worker, monkeypatch):
    revoked = []
    monkeypatch.setattr(
        type(server.deps.celery.control),
        "revoke",
        lambda _self, task_id, **how: revoked.append((task_id, how)),
    )
    for name in ("a", "b"):
        await stub.CreatePreflight(make_request(preflight_id=name))
        claim = worker.claim(name)
        await stub.CancelPreflight(service_pb2.CancelPreflightRequest(name=f"preflights/{name}"))
        if name == "b":
            worker.ledger.finish(claim, state=preflight_pb2.STATE_CANCELLED)
    await asyncio.sleep(0.4)
    assert revoked == [("a", {"terminate": True, "signal": "SIGTERM"})]


async def test_delete_takes_the_rows_along(stub, make_request, worker, store_settings, details):
    spec = (await stub.CreatePreflight(make_request(preflight_id="a"))).preflight.spec
    await stub.CreatePreflight(make_request(preflight_id="b"))
    artifacts = ArtifactStore(settings=store_settings)
    claim = worker.claim("a")
    delete = service_pb2.DeletePreflightRequest(name="preflights/a")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.DeletePreflight(delete)
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert details(error.value)["PreconditionFailure"].violations[0].type == "PREFLIGHT_RUNNING"
    worker.finish(claim)
    await stub.DeletePreflight(delete)
    assert await code_of(stub.DeletePreflight(delete)) is grpc.StatusCode.NOT_FOUND
    # The other one has the same rows.
    assert artifacts.exists(spec.data.artifact)
    await stub.DeletePreflight(service_pb2.DeletePreflightRequest(name="preflights/b"))
    assert not artifacts.exists(spec.data.artifact)


async def test_get_row(stub, make_request, worker, details):
    await stub.CreatePreflight(make_request(preflight_id="a"))

    async def why(row: int) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.GetRow(service_pb2.GetRowRequest(name="preflights/a", row=row))
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        return details(error.value)["ResourceInfo"].description

    assert "not looked at the rows yet" in await why(3)
    claim = worker.claim("a")
    token = report_pb2.Token(id=5, text="hi", trained=False)
    worker.ledger.put_rows(claim, [report_pb2.Sample(row=3, tokens=[token]), report_pb2.Sample(row=9)])
    sample = (await stub.GetRow(service_pb2.GetRowRequest(name="preflights/a", row=3))).sample
    assert list(sample.tokens) == [token]
    assert "3, 9" in await why(4)
    rejected = [report_pb2.RejectedRow(row=4, reason="no field 'messages'")]
    report = report_pb2.Report(data=report_pb2.DataReport(rejected=rejected))
    worker.ledger.finish(claim, state=preflight_pb2.STATE_SUCCEEDED, report=report)
    assert "rejected: no field 'messages'" in await why(4)
    assert "3, 9" in await why(5)
    call = stub.GetRow(service_pb2.GetRowRequest(name="preflights/a", row=0))
    assert await code_of(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_catalogue(stub, worker):
    worker.pool = "h100"
    worker.beat()
    pools = (await stub.ListPools(service_pb2.ListPoolsRequest())).pools
    assert [(p.name, p.num_workers) for p in pools] == [("default", 0), ("h100", 1)]
    info = await stub.GetServerInfo(service_pb2.GetServerInfoRequest())
    assert info.version
    assert info.limits.max_upload_bytes == 256 * 2**20
    assert info.limits.max_time_budget.seconds == 1800
    assert info.features["reflection"]
    assert not info.features["hub_access"]
    rules = (await stub.ListRules(service_pb2.ListRulesRequest())).rules
    assert len({r.id for r in rules}) == len(rules)
    for rule in rules:
        assert rule.summary
        assert rule.documentation.startswith(rule.summary)
        assert rule.severity


async def test_check_config(stub, details):
    request = service_pb2.CheckConfigRequest()
    request.deepspeed.config.update({"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 2}})
    response = await stub.CheckConfig(request)
    assert response.headline
    assert response.verdict
    request.ClearField("deepspeed")
    request.cluster.num_gpus = -1
    request.plan.num_steps = 0
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.CheckConfig(request)
    fields = [v.field for v in details(error.value)["BadRequest"].field_violations]
    assert fields == ["deepspeed", "cluster.num_gpus", "plan.num_steps"]

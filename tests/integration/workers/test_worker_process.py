"""The worker as a process behind a real service: its tasks are killed, cancelled, stopped, cut short."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable

import grpc.aio
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2
from worker_helpers import EXAMPLES, WorkerProcess, job, long_job

from hotfire.v1 import preflight_pb2, report_pb2, spec_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1.preflight_service_pb2_grpc import PreflightServiceStub
from hotfire_service.server import Server
from hotfire_service.settings import ServiceSettings
from hotfire_service.store import StoreSettings

State = preflight_pb2.State


class Front:
    """The service as a client sees it."""

    def __init__(self, stub: PreflightServiceStub) -> None:
        self.stub = stub

    async def create(self, spec: spec_pb2.PreflightSpec) -> str:
        answer = await self.stub.CreatePreflight(service_pb2.CreatePreflightRequest(spec=spec))
        return answer.preflight.name

    async def get(self, name: str) -> preflight_pb2.Preflight:
        answer = await self.stub.GetPreflight(service_pb2.GetPreflightRequest(name=name))
        return answer.preflight

    async def until(
        self, name: str, condition: Callable[[preflight_pb2.Preflight], object], timeout_s: float = 60
    ) -> preflight_pb2.Preflight:
        async def poll() -> preflight_pb2.Preflight:
            while True:
                preflight = await self.get(name)
                if condition(preflight):
                    return preflight
                await asyncio.sleep(0.1)

        return await asyncio.wait_for(poll(), timeout_s)

    async def end(self, name: str, timeout_s: float = 90) -> preflight_pb2.Preflight:
        over = (State.STATE_SUCCEEDED, State.STATE_FAILED, State.STATE_CANCELLED, State.STATE_EXPIRED)
        return await self.until(name, lambda p: p.state in over, timeout_s)


@pytest.fixture
async def front(store_settings: StoreSettings) -> AsyncIterator[Front]:
    settings = ServiceSettings(port=0, allowed_roots=[str(EXAMPLES)], sweep_s=0.3, stop_grace_s=0.5)
    async with (
        Server(settings, store_settings) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield Front(PreflightServiceStub(channel))


def in_trial(preflight: preflight_pb2.Preflight) -> bool:
    return preflight.state == State.STATE_RUNNING and preflight.progress.phase == "trial"


async def eventually(condition: Callable[[], object], timeout_s: float) -> None:
    async def poll() -> None:
        while True:
            if condition():
                return
            await asyncio.sleep(0.05)

    await asyncio.wait_for(poll(), timeout_s)


async def test_a_task_killed_in_a_trial_is_run_again(front: Front, worker: WorkerProcess) -> None:
    name = await front.create(job("glm4-healthy", "plan.num_steps=4"))
    await front.until(name, in_trial)
    os.kill(worker.pool_child().pid, signal.SIGKILL)
    await eventually(lambda: not worker.ranks(), 10)
    preflight = await front.end(name)
    assert (State.Name(preflight.state), preflight.attempt) == ("STATE_SUCCEEDED", 2), preflight.error
    assert preflight.report.verdict == report_pb2.VERDICT_PASS, preflight.report.headline
    assert [t.name for t in preflight.report.trials] == ["candidate", "reference"]
    assert not list((worker.folder / "cache" / "runs").glob("run-*"))


async def test_three_lost_workers_are_our_failure(front: Front, worker: WorkerProcess) -> None:
    name = await front.create(long_job())
    for attempt in (1, 2, 3):
        await front.until(name, lambda p, a=attempt: in_trial(p) and p.attempt == a)
        await eventually(worker.ranks, 10)
        os.kill(worker.pool_child().pid, signal.SIGKILL)
        await eventually(lambda: not worker.ranks(), 10)
    preflight = await front.end(name)
    info = error_details_pb2.ErrorInfo()
    assert preflight.error.details[0].Unpack(info)
    assert (State.Name(preflight.state), info.reason) == ("STATE_FAILED", "WORKER_LOST")


async def test_cancelled_in_a_trial_nothing_of_it_is_left(front: Front, worker: WorkerProcess) -> None:
    name = await front.create(long_job())
    await front.until(name, in_trial)
    await eventually(worker.ranks, 10)
    await front.stub.CancelPreflight(service_pb2.CancelPreflightRequest(name=name))
    await eventually(lambda: not worker.ranks(), 10)
    preflight = await front.end(name, 10)
    assert State.Name(preflight.state) == "STATE_CANCELLED"
    assert not preflight.HasField("error")


async def test_a_spent_budget_is_inconclusive(front: Front, worker: WorkerProcess) -> None:
    spec = long_job()
    spec.plan.time_budget.CopyFrom(duration_pb2.Duration(seconds=4))
    preflight = await front.end(await front.create(spec))
    assert State.Name(preflight.state) == "STATE_SUCCEEDED"
    assert preflight.report.verdict == report_pb2.VERDICT_INCONCLUSIVE
    assert "budget-spent" in {f.rule for f in preflight.report.findings}
    assert preflight.report.trials[0].outcome == report_pb2.TRIAL_OUTCOME_NOT_EXERCISED
    await eventually(lambda: not worker.ranks(), 10)  # nothing waits for the end of what was cut short


async def test_a_stopped_worker_gives_its_preflight_back(
    front: Front, new_worker: Callable[..., WorkerProcess]
) -> None:
    first = new_worker(HOTFIRE_WORKER_POOL="stopping")
    spec = long_job()
    spec.plan.pool = "stopping"
    name = await front.create(spec)
    await front.until(name, in_trial)
    await eventually(first.ranks, 10)
    ranks = first.ranks()
    code = await asyncio.to_thread(first.terminate)
    assert code == 0, first.log
    assert not any(rank.is_running() for rank in ranks)
    preflight = await front.until(name, lambda p: p.state == State.STATE_QUEUED, 10)
    assert preflight.attempt == 0
    pools = (await front.stub.ListPools(service_pb2.ListPoolsRequest())).pools
    assert [p.num_workers for p in pools if p.name == "stopping"] == [0]
    # The next worker takes it, as if nothing had been.
    await asyncio.to_thread(new_worker, HOTFIRE_WORKER_POOL="stopping")
    await front.until(name, lambda p: in_trial(p) and p.attempt == 1)
    await front.stub.CancelPreflight(service_pb2.CancelPreflightRequest(name=name))
    assert State.Name((await front.end(name, 15)).state) == "STATE_CANCELLED"


@pytest.mark.slow
async def test_a_worker_killed_as_a_whole_is_replaced(
    front: Front, new_worker: Callable[..., WorkerProcess]
) -> None:
    first = new_worker(HOTFIRE_WORKER_POOL="killed")
    spec = job("glm4-healthy", "plan.num_steps=4")
    spec.plan.pool = "killed"
    name = await front.create(spec)
    await front.until(name, in_trial)
    await eventually(first.ranks, 10)
    ranks = first.ranks()
    assert first.process is not None
    first.process.kill()
    await eventually(lambda: not any(rank.is_running() for rank in ranks), 10)
    await asyncio.to_thread(new_worker, HOTFIRE_WORKER_POOL="killed")
    preflight = await front.end(name)
    assert (State.Name(preflight.state), preflight.attempt) == ("STATE_SUCCEEDED", 2), preflight.error

"""A real server over a real Valkey; only the worker is ours: it drives the ledger as the real one does."""

from __future__ import annotations

import asyncio
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest

from hotfire.v1 import preflight_pb2, report_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1.preflight_service_pb2_grpc import PreflightServiceStub
from hotfire_service.server import Server
from hotfire_service.settings import ServiceSettings
from hotfire_service.store import AsyncLedger, Ledger, StoreSettings

# pytest's importlib mode does not make them importable.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def store_settings(request, redis_url, tmp_path) -> StoreSettings:
    """Parametrize it (indirect) with a dict of other values."""
    given = {
        "redis_url": redis_url,
        "key_prefix": f"t{uuid.uuid4().hex[:8]}:",
        "artifacts_url": str(tmp_path / "artifacts"),
    }
    return StoreSettings(**(given | getattr(request, "param", {})))


@pytest.fixture
def service_settings(request, tmp_path) -> ServiceSettings:
    """Parametrize it (indirect) with a dict of other values."""
    given = {"port": 0, "allowed_roots": [str(tmp_path)], "sweep_s": 0.2, "stop_grace_s": 0.5}
    return ServiceSettings(**(given | getattr(request, "param", {})))


@pytest.fixture
async def server(service_settings, store_settings):
    async with Server(service_settings, store_settings) as server:
        yield server


@pytest.fixture
async def stub(server):
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield PreflightServiceStub(channel)


@pytest.fixture
async def aledger(store_settings):
    ledger = AsyncLedger.connect(store_settings)
    yield ledger
    await ledger.aclose()


@dataclass
class FakeWorker:
    """Claims and finishes as told. Synchronous, as the real one."""

    ledger: Ledger
    pool: str = "default"
    name: str = "fake"

    def beat(self, torch: str = "2.13.0") -> None:
        self.ledger.worker_heartbeat(
            {
                "worker": self.name,
                "pool": self.pool,
                "device": "cpu",
                "num_devices_per_slot": 2,
                "slots": 3,
                "busy": 1,
                "versions": {"torch": torch},
            }
        )

    def claim(self, preflight_id: str):
        return self.ledger.claim(preflight_id, self.name, self.pool)

    def step(self, claim, number: int, loss: float = 1.0) -> bool:
        event = service_pb2.WatchPreflightResponse()
        event.step.trial = "candidate"
        event.step.step.step = number
        event.step.step.loss = loss
        return self.ledger.append(claim, event)

    def finish(self, claim, verdict=report_pb2.VERDICT_PASS, headline="It trains") -> bool:
        report = report_pb2.Report(verdict=verdict, headline=headline)
        return self.ledger.finish(claim, state=preflight_pb2.STATE_SUCCEEDED, report=report)

    async def run(self, preflight_id: str, num_steps: int = 3, **result) -> None:
        claim = await asyncio.to_thread(self.claim, preflight_id)
        assert claim is not None
        for number in range(1, num_steps + 1):
            await asyncio.to_thread(self.step, claim, number)
        assert await asyncio.to_thread(lambda: self.finish(claim, **result))


@pytest.fixture
def worker(store_settings):
    ledger = Ledger.connect(store_settings)
    yield FakeWorker(ledger)
    ledger.close()


@pytest.fixture
def make_request(tmp_path):
    """A good CreatePreflight request; keyword arguments go into it."""

    def make(**fields) -> service_pb2.CreatePreflightRequest:
        request = service_pb2.CreatePreflightRequest(**fields)
        request.spec.model.path = str(tmp_path / "model")
        request.spec.data.rows.add().update({"text": "hello"})
        request.spec.deepspeed.config_json = '{"train_micro_batch_size_per_gpu": 1}'
        return request

    return make


@pytest.fixture
def details():
    """The google.rpc details of an RpcError, by type name."""
    from google.rpc import error_details_pb2, status_pb2

    def read(error) -> dict:
        metadata = dict(error.trailing_metadata() or ())
        status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
        assert status.code == error.code().value[0]
        found = {}
        for packed in status.details:
            name = packed.TypeName().rpartition(".")[2]
            message = getattr(error_details_pb2, name)()
            assert packed.Unpack(message)
            assert name not in found
            found[name] = message
        assert found["ErrorInfo"].domain == "hotfire"
        return found

    return read

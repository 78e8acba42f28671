"""The shared Celery settings with a real Celery worker: the message arrives, a revoke reaches the pool."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import grpc.aio
import pytest

from hotfire.v1 import preflight_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1.preflight_service_pb2_grpc import PreflightServiceStub
from hotfire_service.server import Server

WORKER = """
import time
import celery
from hotfire.v1 import preflight_pb2, report_pb2
from hotfire_service.store import TASK, Ledger, StoreSettings, celery_config

settings = StoreSettings()
app = celery.Celery("test", set_as_current=False)
app.conf.update(celery_config(settings=settings, pool="default"))

@app.task(name=TASK)
def run(preflight_id):
    ledger = Ledger.connect(settings)
    claim = ledger.claim(preflight_id, "w", "default")
    if claim is None:
        return
    if preflight_id == "stuck":
        while True:
            time.sleep(0.1)
    report = report_pb2.Report(verdict=report_pb2.VERDICT_PASS, headline="ran in Celery")
    ledger.finish(claim, state=preflight_pb2.STATE_SUCCEEDED, report=report)
"""


@pytest.fixture
def celery_worker(store_settings, tmp_path):
    (tmp_path / "celery_app_of_test.py").write_text(WORKER)
    environment = {
        **os.environ,
        "HOTFIRE_STORE_REDIS_URL": store_settings.redis_url,
        "HOTFIRE_STORE_KEY_PREFIX": store_settings.key_prefix,
        "HOTFIRE_STORE_LEASE_S": str(store_settings.lease_s),
        "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}",
    }
    log = (tmp_path / "celery.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "celery_app_of_test", "worker", "-c", "1", "--without-mingle"],
        cwd=tmp_path,
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    yield process
    process.send_signal(signal.SIGQUIT)
    try:
        process.wait(20)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        log.close()


@pytest.mark.parametrize("store_settings", [{"lease_s": 2.0}], indirect=True)
@pytest.mark.parametrize("service_settings", [{"revoke_after_s": 0.2}], indirect=True)
async def test_through_a_real_worker(celery_worker, service_settings, store_settings, make_request):
    async with (
        Server(service_settings, store_settings) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        stub = PreflightServiceStub(channel)
        wait = service_pb2.WaitPreflightRequest(name="preflights/a")
        wait.timeout.seconds = 30
        await stub.CreatePreflight(make_request(preflight_id="a"))
        preflight = (await stub.WaitPreflight(wait)).preflight
        assert preflight.report.headline == "ran in Celery"

        await stub.CreatePreflight(make_request(preflight_id="stuck"))
        async for event in stub.WatchPreflight(service_pb2.WatchPreflightRequest(name="preflights/stuck")):
            if event.state.state == preflight_pb2.STATE_RUNNING:
                break
        await stub.CancelPreflight(service_pb2.CancelPreflightRequest(name="preflights/stuck"))
        wait.name = "preflights/stuck"
        preflight = (await stub.WaitPreflight(wait)).preflight
        assert preflight.state == preflight_pb2.STATE_CANCELLED

        # The pool process was replaced: the worker still works.
        await stub.CreatePreflight(make_request(preflight_id="b"))
        wait.name = "preflights/b"
        async with asyncio.timeout(30):
            preflight = (await stub.WaitPreflight(wait)).preflight
        assert preflight.state == preflight_pb2.STATE_SUCCEEDED

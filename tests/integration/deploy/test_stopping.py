"""Why the worker's unit has KillMode=mixed: what a stop of systemd's makes of a running preflight, either way."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import uuid
from pathlib import Path

import psutil
import pytest

from hotfire_service.store import StoreSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "workers"))  # pytest's importlib mode does not
sys.path.insert(0, str(Path(__file__).parents[1] / "end_to_end"))

from stack_helpers import ServiceProcess, Stack
from worker_helpers import EXAMPLES, WorkerProcess, long_job, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def stack(redis_url, tmp_path):
    store = StoreSettings(
        redis_url=redis_url, key_prefix=f"k{uuid.uuid4().hex[:8]}:", artifacts_url=str(tmp_path), lease_s=3.0
    )
    service = ServiceProcess(store, tmp_path, [EXAMPLES])
    worker = WorkerProcess(store, tmp_path)
    try:
        yield Stack(store, tmp_path, service.start(), worker.start())
    finally:
        worker.end()
        service.end()


@pytest.mark.parametrize(("kill_mode", "num_attempts"), [("mixed", 1), ("control-group", 2)])
def test_a_stopped_worker_gives_its_preflight_back_if_only_its_main_process_is_told(
    stack, kill_mode, num_attempts
):
    with stack.client() as client:
        name = client.create_preflight(long_job()).name
    stack.in_trial(name)
    main = psutil.Process(stack.worker.process.pid)
    everyone = [main, *main.children(recursive=True)]
    for process in everyone if kill_mode == "control-group" else [main]:
        with contextlib.suppress(psutil.NoSuchProcess):
            os.kill(process.pid, signal.SIGTERM)
    stack.worker.process.wait(40)
    for process in everyone:  # the final SIGKILL to the cgroup
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    stack.worker.start()
    wait_for(lambda: stack.get(name).progress.phase == "trial" and stack.worker.ranks(), 90, "it runs again")
    assert stack.get(name).attempt == num_attempts

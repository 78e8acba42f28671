"""The worker's counts: lines in, numbers out, over a real pipe and real HTTP."""

from __future__ import annotations

import os
import socket
import time
import urllib.error
import urllib.request

import pytest
from pydantic import ValidationError

from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1 import report_pb2
from hotfire_service.store.endpoint import AddressError, listen
from hotfire_workers import devices
from hotfire_workers.metrics import SILENT_S, WorkerMetrics
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.slots import find_slots
from hotfire_workers.telemetry import Telemetry

BEAT = {"ready": True, "slots": 3, "busy": 1, "warm": 2, "warm_restarts": 4}


def get(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def numbers(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


@pytest.fixture
def telemetry():
    made = Telemetry(WorkerSettings(pool="p", metrics_address="127.0.0.1:0"))
    made.start()
    yield made
    made.stop()


def until(telemetry, name: str, timeout_s: float = 10) -> dict[str, float]:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if name in (found := numbers(get(telemetry.address, "/metrics")[1])):
            return found
        time.sleep(0.05)
    raise AssertionError(name)


def test_what_forked_processes_write_is_added_up(telemetry):
    event = service_pb2.WatchPreflightResponse()
    trial = event.trial_finished.trial
    trial.role, trial.outcome = report_pb2.ROLE_CANDIDATE, report_pb2.TRIAL_OUTCOME_TRAINS
    trial.phase_seconds.update({"step": 0.25, "model_init": 2.0})
    report = report_pb2.Report(verdict=report_pb2.VERDICT_FAIL)
    for rule in ("a-rule", "a-rule", "b-rule"):
        report.findings.add(rule=rule, severity=report_pb2.SEVERITY_ERROR, message="the row says: secret")
    children = []
    for _ in range(4):
        if not (child := os.fork()):
            telemetry.in_task_process()
            for _ in range(25):
                telemetry.event(event)
                telemetry.report(report)
                telemetry.ended("succeeded", 3.0, num_warm_fallbacks=2)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    telemetry.beat(BEAT)
    found = until(telemetry, 'hotfire_worker_slots{pool="p",state="free"}')
    expected = {
        'hotfire_worker_preflights_total{pool="p",result="succeeded"}': 100,
        'hotfire_worker_verdicts_total{pool="p",verdict="fail"}': 100,
        'hotfire_worker_rules_fired_total{pool="p",rule="a-rule",severity="error"}': 100,
        'hotfire_worker_rules_fired_total{pool="p",rule="b-rule",severity="error"}': 100,
        'hotfire_worker_trials_total{outcome="trains",pool="p",role="candidate"}': 100,
        'hotfire_worker_trial_phase_seconds_sum{phase="step",pool="p"}': 25,
        'hotfire_worker_trial_phase_seconds_count{phase="model_init",pool="p"}': 100,
        'hotfire_worker_warm_fallbacks_total{pool="p"}': 200,
        'hotfire_worker_slots{pool="p",state="free"}': 2,
        'hotfire_worker_slots{pool="p",state="busy"}': 1,
        'hotfire_worker_warm_processes{pool="p"}': 2,
        'hotfire_worker_warm_restarts{pool="p"}': 4,
        'hotfire_worker_ready{pool="p"}': 1,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "secret" not in get(telemetry.address, "/metrics")[1]


def test_probes(telemetry):
    until(telemetry, 'hotfire_worker_warm_fallbacks_total{pool="p"}')
    assert get(telemetry.address, "/livez") == (200, "ok")
    assert get(telemetry.address, "/readyz") == (503, "it is being set up")
    telemetry.beat(BEAT)
    until(telemetry, 'hotfire_worker_ready{pool="p"}')
    assert get(telemetry.address, "/readyz") == (200, "ok")
    telemetry.beat(BEAT | {"ready": False})
    end = time.monotonic() + 5
    while (answer := get(telemetry.address, "/readyz"))[0] == 200 and time.monotonic() < end:
        time.sleep(0.05)
    assert answer == (503, "it is stopping")
    assert get(telemetry.address, "/livez") == (200, "ok")
    assert get(telemetry.address, "/secrets")[0] == 404


def test_a_reader_that_dies_costs_counts_and_nothing_else(telemetry):
    until(telemetry, 'hotfire_worker_warm_fallbacks_total{pool="p"}')
    telemetry._process.kill()
    telemetry._process.wait()
    for _ in range(5000):  # more than a pipe holds
        telemetry.add("preflights", result="succeeded")
    telemetry.check()
    telemetry.beat(BEAT)
    assert until(telemetry, 'hotfire_worker_preflights_total{pool="p",result="succeeded"}')


def test_the_reader_ends_with_the_worker_and_frees_the_port(telemetry):
    until(telemetry, 'hotfire_worker_warm_fallbacks_total{pool="p"}')
    address = telemetry.address
    telemetry.stop()
    listen(address, setting="x").close()


def test_liveness():
    now, answers = 1000.0, True
    metrics = WorkerMetrics("p", store_answers=lambda: answers, clock=lambda: now)
    beat = b'["beat", 0, {"ready": true, "slots": 1, "busy": 0, "warm": 1, "warm_restarts": 0}]'
    now += 10 * SILENT_S  # set-up takes its time
    assert metrics.why_not_live() is None
    metrics.take(beat)
    now += SILENT_S - 1
    assert metrics.why_not_live() is None
    assert metrics.why_not_ready() is None
    now += 2
    assert "silent for 121 s" in metrics.why_not_live()
    assert "silent for 121 s" in metrics.why_not_ready()
    # A Redis that is away explains the silence, and for a while after it is back.
    answers = False
    assert metrics.why_not_live() is None
    answers = True
    now += SILENT_S - 1
    assert metrics.why_not_live() is None
    now += 2
    assert metrics.why_not_live() is not None
    metrics.take(beat)
    assert metrics.why_not_live() is None


def test_lines_that_make_no_sense_are_left_out(capsys):
    metrics = WorkerMetrics("p", store_answers=lambda: True)
    for line in (
        b"",
        b"{",
        b"[]",
        b'["preflights", 1, {"row": "text"}]',
        b'["beat", 0, {}]',
        b'["new", 1, {}]',
    ):
        metrics.take(line)
    assert "text" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "address", ["", "9464", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "192.0.2.1:0"]
)
def test_a_wrong_address_is_told(address):
    with pytest.raises(AddressError, match="HOTFIRE_WORKER_METRICS_ADDRESS"):
        Telemetry(WorkerSettings(metrics_address=address))


def test_a_taken_address_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AddressError, match=address):
            Telemetry(WorkerSettings(metrics_address=address))


# --- Devices ----------------------------------------------------------------------------------------------

GPUS = [devices.Gpu(uuid=f"GPU-{c * 4}", name="H100", memory_bytes=80 * 2**30) for c in "abcd"]


@pytest.fixture
def gpus(monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: GPUS)


def test_chosen_gpus_are_divided_into_slots(gpus):
    slots = find_slots(WorkerSettings(devices="3,1", slots=2))
    assert [s.gpus for s in slots] == [("GPU-dddd",), ("GPU-bbbb",)]
    (slot,) = find_slots(WorkerSettings(devices="GPU-aa,GPU-cccc", devices_per_slot=2))
    assert slot.gpus == ("GPU-aaaa", "GPU-cccc")
    assert find_slots(WorkerSettings(devices="cpu", slots=2))[1].is_cpu
    assert len(find_slots(WorkerSettings(devices="cuda"))) == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"devices": "7"}, "'7' is not there"),
        ({"devices": "GPU-x"}, "'GPU-x' is not there"),
        ({"devices": "GPU-"}, "means several"),
        ({"devices": "0,GPU-aaaa"}, "named twice"),
        ({"devices": "0,1", "slots": 3}, "chosen by HOTFIRE_WORKER_DEVICES"),
    ],
)
def test_devices_that_are_not_there(gpus, given, message):
    with pytest.raises(ValueError, match=message):
        find_slots(WorkerSettings(**given))


@pytest.mark.parametrize("given", [{"devices": "0", "device": "cpu"}, {"devices": "cuda", "device": "cpu"}])
def test_devices_that_contradict(given):
    with pytest.raises(ValidationError, match="cpu"):
        WorkerSettings(**given)

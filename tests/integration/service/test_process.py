"""`python -m hotfire_service` as a process, with the real grpcurl and buf curl."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import grpc
import pytest
from google.protobuf import json_format

from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1.preflight_service_pb2_grpc import PreflightServiceStub

SERVICE = "hotfire.v1.PreflightService"
BIN = Path(sysconfig.get_path("scripts"))


def start(store_settings, *flags: str, **environment: str) -> subprocess.Popen[str]:
    given = {
        "HOTFIRE_STORE_REDIS_URL": store_settings.redis_url,
        "HOTFIRE_STORE_KEY_PREFIX": store_settings.key_prefix,
        "HOTFIRE_STORE_ARTIFACTS_URL": store_settings.artifacts_url,
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "hotfire_service", "--port", "0", *flags],
        env={**os.environ, **given},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def address_of(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline()
    assert line.startswith("hotfire-service ready on 127.0.0.1:"), line + process.stderr.read()
    return line.split()[-1]


@pytest.fixture
def service(store_settings, tmp_path):
    """The running service: (process, address)."""
    process = start(store_settings, "--allow-root", str(tmp_path))
    yield process, address_of(process)
    if process.poll() is None:
        process.terminate()
    process.communicate(timeout=20)


@pytest.fixture
def grpcurl(service):
    """Calls grpcurl: (exit code, output)."""

    def run(*arguments: str, data: object = None) -> tuple[int, str]:
        given = ["-d", json.dumps(data)] if data is not None else []
        # Flags stand before the address, the verb or method after it.
        command = [str(BIN / "grpcurl"), "-plaintext", *given, service[1], *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout + done.stderr

    return run


def spec(tmp_path) -> dict:
    return {
        "model": {"path": str(tmp_path / "glm4")},
        "data": {"rows": [{"messages": [{"role": "user", "content": "hi"}]}]},
        "deepspeed": {"config": {"zero_optimization": {"stage": 2}, "train_micro_batch_size_per_gpu": 1}},
    }


def test_grpcurl_lists_and_describes(grpcurl):
    code, output = grpcurl("list")
    assert code == 0
    assert output.split() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        SERVICE,
    ]
    code, output = grpcurl("describe", f"{SERVICE}.CreatePreflight")
    assert code == 0
    assert "hotfire.v1.CreatePreflightRequest" in output
    assert json.loads(grpcurl("grpc.health.v1.Health/Check")[1]) == {"status": "SERVING"}


def test_grpcurl_through_a_whole_preflight(grpcurl, tmp_path, worker):
    code, output = grpcurl(
        f"{SERVICE}/CreatePreflight",
        data={"spec": spec(tmp_path), "preflight_id": "run-1", "labels": {"a": "b"}},
    )
    assert code == 0, output
    preflight = json.loads(output)["preflight"]
    assert preflight["name"] == "preflights/run-1"
    assert preflight["state"] == "STATE_QUEUED"
    assert preflight["spec"]["deepspeed"]["config"]["zero_optimization"] == {"stage": 2}
    assert preflight["spec"]["data"]["artifact"].startswith("artifacts/")

    code, output = grpcurl(f"{SERVICE}/WaitPreflight", data={"name": "preflights/run-1", "timeout": "0.1s"})
    assert json.loads(output)["preflight"]["state"] == "STATE_QUEUED"

    claim = worker.claim("run-1")

    def work() -> None:
        for number in (1, 2):
            worker.step(claim, number)
        worker.finish(claim)

    timer = threading.Timer(0.5, work)
    timer.start()
    code, output = grpcurl(f"{SERVICE}/WatchPreflight", data={"name": "preflights/run-1"})
    timer.join()
    assert code == 0, output
    assert '"loss": 1' in output
    assert '"state": "STATE_SUCCEEDED"' in output
    assert '"verdict": "VERDICT_PASS"' in output
    code, output = grpcurl(f"{SERVICE}/WaitPreflight", data={"name": "preflights/run-1"})
    assert json.loads(output)["preflight"]["report"]["headline"] == "It trains"


def test_grpcurl_cancel_and_catalogue(grpcurl, tmp_path):
    grpcurl(f"{SERVICE}/CreatePreflight", data={"spec": spec(tmp_path), "preflight_id": "run-2"})
    code, output = grpcurl(f"{SERVICE}/CancelPreflight", data={"name": "preflights/run-2"})
    assert code == 0
    assert json.loads(output)["preflight"]["state"] == "STATE_CANCELLED"
    assert grpcurl(f"{SERVICE}/ListRules")[0] == 0
    info = json.loads(grpcurl(f"{SERVICE}/GetServerInfo")[1])
    assert info["allowed_roots"] == [str(tmp_path)]
    listed = json.loads(grpcurl(f"{SERVICE}/ListPreflights")[1])
    assert [p["name"] for p in listed["preflights"]] == ["preflights/run-2"]


def test_grpcurl_shows_every_violation(grpcurl, tmp_path):
    bad = spec(tmp_path)
    bad["model"]["path"] = "/etc/model"
    bad["plan"] = {"num_steps": -1}
    code, output = grpcurl(f"{SERVICE}/CreatePreflight", data={"spec": bad})
    assert code != 0
    assert "InvalidArgument" in output
    for text in ("google.rpc.BadRequest", "spec.model.path", "spec.plan.num_steps", "INVALID_REQUEST"):
        assert text in output
    bad["plan"] = {"nums_steps": 1}
    assert "nums_steps" in grpcurl(f"{SERVICE}/CreatePreflight", data={"spec": bad})[1]


def test_buf_curl(service, tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments]
        environment = {**os.environ, "BUF_CACHE_DIR": str(tmp_path / "buf"), "HOME": str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)

    base = f"http://{service[1]}"
    assert SERVICE in run("--list-services", base).stdout
    done = run("-d", json.dumps({"spec": spec(tmp_path)}), f"{base}/{SERVICE}/CreatePreflight")
    assert json.loads(done.stdout)["preflight"]["state"] == "STATE_QUEUED", done.stderr
    done = run("-d", '{"name": "preflights/none"}', f"{base}/{SERVICE}/GetPreflight")
    assert done.returncode != 0
    assert "not_found" in done.stderr


def test_term_ends_it_and_the_log_holds_no_row(service, grpcurl, tmp_path):
    secret = spec(tmp_path)
    secret["data"]["rows"] = [{"text": "my very secret row"}]
    grpcurl(f"{SERVICE}/CreatePreflight", data={"spec": secret, "preflight_id": "s"})
    process, address = service
    watcher = subprocess.Popen(
        [
            BIN / "grpcurl",
            "-plaintext",
            "-d",
            '{"name": "preflights/s"}',
            address,
            f"{SERVICE}/WatchPreflight",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while "progress" not in watcher.stdout.readline():
        pass
    process.send_signal(signal.SIGTERM)
    _, errors = watcher.communicate(timeout=20)
    assert "Unavailable" in errors
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert [e["event"] for e in lines if e["event"] in ("serving", "stopping", "stopped")] == [
        "serving",
        "stopping",
        "stopped",
    ]
    assert "secret" not in log


def test_watchers_that_leave_at_any_moment_do_no_harm(service, store_settings, tmp_path, worker):
    """grpc destroys a cancelled call before its handler is closed: nothing may be asked of it then."""
    process, address = service
    request = service_pb2.CreatePreflightRequest(preflight_id="left")
    json_format.ParseDict({"spec": spec(tmp_path)}, request)
    name = service_pb2.WatchPreflightRequest(name="preflights/left")
    with grpc.insecure_channel(address) as channel:
        stub = PreflightServiceStub(channel)
        stub.CreatePreflight(request)
        claim = worker.claim("left")
        for number in range(20):
            worker.step(claim, number)
        worker.finish(claim)
        # Not more: nobody reads the log, and a full pipe stops the service.
        for number in range(150):
            call = stub.WatchPreflight(name, timeout=10)
            for _ in range(number % 25):
                next(call)
            call.cancel()
            assert process.poll() is None
        assert stub.GetPreflight(
            service_pb2.GetPreflightRequest(name=name.name), timeout=10
        ).preflight.report.verdict


@pytest.mark.parametrize(
    ("flags", "environment", "text"),
    [
        (["--host", "0.0.0.0"], {}, "no token"),
        (["--config", "/nowhere.toml"], {}, "/nowhere.toml"),
        (["--host", "192.0.2.1"], {"HOTFIRE_SERVICE_ALLOW_INSECURE": "true"}, "cannot listen on 192.0.2.1:0"),
        ([], {"HOTFIRE_SERVICE_MAX_RANKS": "many"}, "max_ranks"),
        (["--tokens-file", "/nowhere.toml"], {}, "/nowhere.toml"),
        (["--tls-cert-file", "/no.pem"], {}, "go together"),
        (["--tls-cert-file", "/no.pem", "--tls-key-file", "/no.key"], {}, "/no.pem"),
        (["--tls-client-ca-file", "/no.pem"], {}, "needs tls_cert_file"),
        (["--metrics-address", "9464"], {}, "HOST:PORT"),
        (["--metrics-address", "192.0.2.1:0"], {}, "cannot listen on 192.0.2.1:0"),
        ([], {"HOTFIRE_SERVICE_REFLECTION": "ajar"}, "reflection"),
        ([], {"HOTFIRE_STORE_LEASE_S": "-1"}, "lease_s"),
        (["--redis-url", "foo://bar"], {}, "redis_url"),
    ],
)
def test_wrong_settings_are_one_line_and_exit_2(store_settings, flags, environment, text):
    process = start(store_settings, *flags, **environment)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert output == ""
    assert text in errors
    assert "Traceback" not in errors


def test_beyond_loopback_without_protection_only_with_a_loud_flag(store_settings):
    process = start(store_settings, "--host", "0.0.0.0", "--allow-insecure")
    assert process.stdout.readline().startswith("hotfire-service ready on 0.0.0.0:")
    process.terminate()
    _, log = process.communicate(timeout=20)
    (warning,) = [json.loads(line) for line in log.splitlines() if "INSECURE" in line]
    assert warning["level"] == "warning"
    assert "can be reached from other machines" in warning["why"]


def test_a_wrong_token_setting_is_not_repeated(store_settings):
    environment = {
        "HOTFIRE_SERVICE_TOKENS": '{"Team A": "my-own-token"}',
        "HOTFIRE_SERVICE_TOKEN": "another-token",
    }
    process = start(store_settings, "--host", "0.0.0.0", **environment)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "tenant name" in errors
    assert "token" not in (output + errors).replace("tokens", "")


def test_a_token_made_by_the_command_lets_in(store_settings, tmp_path):
    path = tmp_path / "tokens.toml"
    made = subprocess.run(
        [sys.executable, "-m", "hotfire", "serve", "token", "new", "--file", str(path), "--name", "ci"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    process = start(store_settings, "--tokens-file", str(path))
    address = address_of(process)
    try:
        for token, code in ((made.stdout.strip(), 0), ("hotfire_another", 2)):
            done = subprocess.run(
                [sys.executable, "-m", "hotfire", "list", "--server", address, "--token", token],
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == code, done.stderr
            assert token not in done.stdout + done.stderr
    finally:
        process.terminate()
        _, log = process.communicate(timeout=20)
    callers = [json.loads(line).get("caller") for line in log.splitlines() if '"call"' in line]
    assert callers == ["ci", ""]
    assert made.stdout.strip() not in log

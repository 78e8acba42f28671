import json
import os
import signal
import subprocess
import sys
import threading
import time

import grpc
import pytest

from hotfire import wire
from hotfire.cli import app, exits
from hotfire.v1 import preflight_pb2, report_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2


@pytest.fixture
def hotfire(capsys, monkeypatch):
    """Runs a command line in this process: (exit code, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: object) -> tuple[int, str, str]:
        code = app.run([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def finish(service, verdict=None, state="SUCCEEDED"):
    """Makes the preflight end like this."""
    service.result.state = preflight_pb2.State.Value(f"STATE_{state}")
    if verdict is None:
        service.result.ClearField("report")
    else:
        service.result.report.verdict = report_pb2.Verdict.Value(f"VERDICT_{verdict}")
    service.events[-1].state.state = service.result.state
    service.events[-1].state.preflight.CopyFrom(service.result)


# --- check, and the exit codes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "state", "options", "code"),
    [
        ("PASS", "SUCCEEDED", [], 0),
        ("WARN", "SUCCEEDED", [], 0),
        ("WARN", "SUCCEEDED", ["--fail-on", "warn"], 1),
        ("FAIL", "SUCCEEDED", [], 1),
        ("INCONCLUSIVE", "SUCCEEDED", [], 3),
        (None, "FAILED", [], 3),
        (None, "CANCELLED", [], 3),
        (None, "EXPIRED", [], 3),
    ],
)
def test_exit_codes(service, address, job, hotfire, verdict, state, options, code):
    finish(service, verdict, state)
    for command in (["check", job], ["watch", "p1"], ["get", "p1", "--exit-code"]):
        assert hotfire(*command, "--server", address, *options)[0] == code
    assert hotfire("get", "preflights/p1", "--server", address)[0] == 0


def test_check_keeps_stdout_for_the_report(service, address, job, hotfire):
    code, out, err = hotfire("check", job, "--server", address, "--format", "json")
    assert code == 1
    assert wire.message_from_dict(json.loads(out), preflight_pb2.Preflight) == service.result
    assert "line 3" in err
    assert "state succeeded, verdict FAIL" in err
    assert hotfire("check", job, "--server", address, "--format", "json", "--quiet")[2] == ""
    code, out, err = hotfire("check", job, "--server", address)
    assert "What to change" in out
    assert "\x1b" not in out
    assert hotfire("check", job, "--server", address, "--format", "markdown")[1].startswith("# ❌ FAIL")


def test_options_reach_the_spec(service, address, job, hotfire):
    hotfire(
        "check", job, "--server", address, "--set", "training.max_steps=9", "--pool", "gpu", "--stages", "0,3",
        "--label", "branch=main",
    )  # fmt: skip
    (request,) = service.named("CreatePreflight")
    assert request.spec.training.max_steps == 9
    assert request.spec.plan.pool == "gpu"
    assert list(request.spec.plan.stages) == [0, 3]
    assert request.labels == {"branch": "main"}


def test_output_goes_to_a_file(service, address, job, hotfire, tmp_path):
    path = tmp_path / "report.json"
    code, out, _ = hotfire("check", job, "--server", address, "--format", "json", "--output", path)
    assert (code, out) == (1, "")
    assert json.loads(path.read_text())["state"] == "STATE_SUCCEEDED"
    code, out, err = hotfire("get", "p1", "--server", address, "--output", tmp_path / "no" / "dir")
    assert code == 2
    assert "--output" in err


def test_where_the_server_is(service, address, job, hotfire, monkeypatch, tmp_path):
    (tmp_path / "config.toml").write_text(f'server = "{address}"\n')
    monkeypatch.setenv("HOTFIRE_CONFIG", str(tmp_path / "config.toml"))
    assert hotfire("check", job)[0] == 1
    monkeypatch.setenv("HOTFIRE_SERVER", "127.0.0.1:1")
    assert hotfire("pools")[0] == 2
    assert hotfire("check", job, "--server", address)[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["check", "none.yaml"],
        ["check", "JOB", "--bogus"],
        ["check", "JOB", "--format", "xml"],
        ["check", "JOB", "--stages", "4"],
        ["check", "JOB", "--label", "x"],
        ["check", "JOB", "--set", "trainig.x=1"],
        ["check", "JOB", "--server", "host:port"],
        ["check", "JOB", "--local", "--server", "x:1"],
        ["check", "JOB", "--server", "example.org:1", "--token", "secret"],
        ["submit", "JOB"],
        ["get", "p1"],
        ["list", "--state", "done", "--server", "127.0.0.1:1"],
        ["rules", "X999"],
        ["lint", "none.json"],
        ["nothing"],
    ],
)
def test_what_is_not_accepted_is_exit_2_with_a_status(hotfire, job, arguments):
    arguments = [str(job) if a == "JOB" else a for a in arguments]
    code, out, err = hotfire(*arguments)
    assert code == 2
    assert out == ""
    assert err
    assert "Traceback" not in err
    if "--format" in arguments:
        return
    code, out, err = hotfire(*arguments, "--format", "json")
    assert code == 2
    status = json.loads(out)["error"]
    assert status["code"] in (3, 9, 14)
    assert status["message"]
    assert status["details"][0]["reason"]


def test_a_refused_spec_is_exit_2_with_every_violation(service, address, job, hotfire):
    from google.rpc import error_details_pb2, status_pb2

    status = status_pb2.Status(code=3, message="wrong")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="BAD", domain="hotfire"))
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="spec.model.path", description="is outside the allowed roots")
    status.details.add().Pack(bad)
    service.faults["CreatePreflight"] = [grpc.StatusCode.INVALID_ARGUMENT]
    service.details = status.SerializeToString()
    code, out, err = hotfire("check", job, "--server", address, "--format", "json")
    assert code == 2
    error = json.loads(out)["error"]
    assert error["details"][1]["field_violations"][0]["field"] == "spec.model.path"
    assert "spec.model.path: is outside the allowed roots" in err


@pytest.mark.parametrize(
    ("status", "code"), [("UNAUTHENTICATED", 2), ("RESOURCE_EXHAUSTED", 2), ("PERMISSION_DENIED", 2)]
)
def test_refusals(service, address, job, hotfire, status, code):
    service.faults["CreatePreflight"] = [grpc.StatusCode[status]]
    assert hotfire("check", job, "--server", address)[0] == code


def test_a_server_lost_for_good_is_exit_3(service, address, job, hotfire, monkeypatch):
    from hotfire.cli import connection

    monkeypatch.setattr(connection.Connection, "__init__", _impatient(connection.Connection.__init__))
    service.break_after = [2] + [0] * 50
    code, _, err = hotfire("check", job, "--server", address)
    assert code == 3
    assert "lost" in err
    assert "hotfire watch p1" in err


def _impatient(init):
    def patched(self, **fields):
        init(self, **(fields | {"patience_s": 0.5}))

    return patched


# --- Ctrl-C -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cancel", [False, True])
def test_ctrl_c_detaches_or_cancels(service, address, job, cancel):
    service.events.pop()  # it never ends
    command = [sys.executable, "-m", "hotfire.cli", "check", str(job), "--server", address]
    if cancel:
        command.append("--cancel-on-interrupt")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 30
    while not service.named("WatchPreflight") and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    if cancel:
        assert "cancelled preflights/p1" in err
        assert service.named("CancelPreflight")
    else:
        assert f"hotfire watch p1 --server {address}" in err
        assert not service.named("CancelPreflight")


def test_a_closed_pipe_is_no_crash(service, address, job):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "hotfire.cli", "get", "p1", "--server", address]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write)
    assert "Traceback" not in done.stderr


# --- The other commands -----------------------------------------------------------------------------------------


def test_submit_returns_at_once(service, address, job, hotfire):
    code, out, err = hotfire("submit", job, "--server", address)
    assert (code, out) == (0, "preflights/p1\n")
    assert "hotfire watch p1" in err
    code, out, _ = hotfire("submit", job, "--server", address, "--format", "json")
    assert json.loads(out)["state"] == "STATE_QUEUED"


def test_watch_comes_back_to_one_that_runs(service, address, hotfire):
    running = preflight_pb2.Preflight(name="preflights/p1", state="STATE_RUNNING")
    done, service.result = service.result, running
    last = service.events.pop()

    def end():
        service.result = done
        service.events.append(last)

    threading.Timer(0.3, end).start()
    code, out, err = hotfire("watch", "p1", "--server", address)
    assert code == 1
    assert "line 0" in err
    assert "What to change" in out


def test_small_commands(service, address, hotfire):
    where = ["--server", address]
    assert "preflights/p1 is cancelled" in hotfire("cancel", "p1", *where)[1]
    assert "preflights/p1 is deleted" in hotfire("delete", "p1", *where)[1]
    assert hotfire("delete", "p1", *where, "--format", "json")[1] == "{}\n"
    assert "default" in hotfire("pools", *where)[1]
    assert json.loads(hotfire("pools", *where, "--format", "json")[1])["pools"][0]["device"] == "cpu"
    listed = json.loads(hotfire("list", *where, "--format", "json", "-n", "2")[1])
    assert [p["name"] for p in listed["preflights"]] == ["preflights/a", "preflights/b"]
    assert "preflights" not in hotfire("list", *where)[1]
    code, out, _ = hotfire("get", "p1", "--row", "3", *where)
    assert code == 0
    assert "[gMASK]<sop><|user|>" in out
    assert json.loads(hotfire("get", "p1", "--row", "3", *where, "--format", "json")[1])["row"] == "3"


def test_rules_are_explained_offline(hotfire):
    code, out, _ = hotfire("rules")
    assert code == 0
    assert "no-supervised-tokens" in out
    listed = json.loads(hotfire("rules", "--format", "json")[1])["rules"]
    assert {"id", "name", "category", "severity", "summary", "documentation"} == set(listed[0])
    for key in ("D101", "d101", "no-supervised-tokens"):
        code, out, _ = hotfire("rules", key)
        assert code == 0
        assert "Why" in out
    assert "no-supervised-tokens?" in hotfire("rules", "no-supervised-token")[2]


def test_version_and_help(hotfire):
    assert hotfire("--version")[1].startswith("hotfire 0.")
    code, out, _ = hotfire("--help")
    assert code == 0
    for command in (
        "check",
        "submit",
        "watch",
        "get",
        "list",
        "cancel",
        "delete",
        "lint",
        "rules",
        "pools",
        "serve",
        "worker",
        "up",
    ):
        assert command in out


# --- lint -------------------------------------------------------------------------------------------------------


def lint_json(hotfire, *arguments):
    code, out, _ = hotfire("lint", *arguments, "--format", "json")
    return code, wire.message_from_dict(json.loads(out), service_pb2.CheckConfigResponse)


def test_lint_names_line_and_column(hotfire, tmp_path):
    path = tmp_path / "ds.json"
    path.write_text('{\n  "bf16": {\n    "enabled": true\n  },\n  "zero_optimisation": {"stage": 2}\n}\n')
    code, response = lint_json(hotfire, path)
    assert code == 1
    (finding,) = [f for f in response.findings if f.rule == "unknown-key"]
    assert (finding.location.line, finding.location.column) == (5, 3)
    code, out, _ = hotfire("lint", path)
    assert code == 1
    assert f"{path}:5:3  error  unknown-key" in out
    assert '5 |   "zero_optimisation": {"stage": 2}' in out
    assert '-  "zero_optimisation": {\n      +  "zero_optimization": {' in out
    assert "^^^^^^^^^^^^^^^^^^^" in out
    assert hotfire("lint", path, "--format", "markdown")[1].startswith("# ❌ FAIL")


def test_lint_of_a_good_config(hotfire, job):
    code, response = lint_json(hotfire, job / "ds_config.json")
    assert code == 0
    assert (
        response.effective_config.fields["zero_optimization"].struct_value.fields["stage"].number_value == 2
    )
    assert hotfire("lint", job / "ds_config.json")[0] == 0


def test_lint_takes_broken_text_as_a_finding(hotfire, tmp_path):
    path = tmp_path / "ds.json"
    path.write_text('{"zero_optimization": {"stage": 2,\n')
    code, response = lint_json(hotfire, path)
    assert code == 1
    assert "unreadable-config" in {f.rule for f in response.findings}


def test_lint_takes_a_spec_or_its_folder_and_lets_options_win(hotfire, job, monkeypatch):
    seen = []
    from hotfire import static

    original = static.static_evidence

    def spy(spec, **options):
        seen.append((spec, options))
        return original(spec, **options)

    monkeypatch.setattr(static, "static_evidence", spy)
    (job / "args.yaml").write_text("max_steps: 5\n")
    options = [
        "--training", job / "args.yaml", "--num-gpus", "16", "--num-nodes", "2", "--gpu-memory", "80GiB",
        "--num-train-rows", "1000", "--loop", "deepspeed", "--deepspeed-version", "0.18.2", "--model", job / "model",
    ]  # fmt: skip
    for target in (job, job / "hotfire.yaml", job / "ds_config.json"):
        assert hotfire("lint", target, *options)[0] in (0, 1)
        spec, given = seen[-1]
        assert spec.training.max_steps == 5
        assert wire.message_to_dict(spec.cluster) == {
            "num_gpus": 16,
            "num_nodes": 2,
            "gpu_memory_bytes": str(80 * 2**30),
            "num_train_rows": "1000",
            "versions": {"deepspeed": "0.18.2"},
        }
        assert spec.training.loop == 3
        assert given["model_config"] == {"model_type": "glm"}
    hotfire("lint", job / "ds_config.json")
    assert not seen[-1][0].training.HasField("loop")
    assert hotfire("lint", job, "--gpu-memory", "80 parsec")[0] == 2


def test_exit_code_names():
    assert (exits.OK, exits.FAILED, exits.REFUSED, exits.NO_VERDICT, exits.INTERRUPTED) == (0, 1, 2, 3, 130)

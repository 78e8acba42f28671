"""The memory forecast reaches every door: CheckConfig, lint in each format, the worker's report."""

from __future__ import annotations

import json

import pytest
from google.protobuf import struct_pb2

from hotfire import static, wire
from hotfire.cli import app
from hotfire.v1 import preflight_service_pb2 as service_pb2

GIB = 2**30
LLAMA_7B = {
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "dtype": "bfloat16",
}  # fmt: skip
CONFIG = {
    "bf16": {"enabled": True},
    "train_micro_batch_size_per_gpu": 1,
    "gradient_accumulation_steps": 1,
    "zero_optimization": {"stage": 2},
}
TRAINING = {
    "per_device_train_batch_size": 1,
    "max_length": 1024,
    "bf16": True,
    "gradient_checkpointing": True,
}


def asked(**changes):
    document = {
        "deepspeed": {"config": CONFIG},
        "training": TRAINING,
        "cluster": {"num_gpus": 8, "gpu_memory_bytes": str(80 * GIB), "host_memory_bytes": str(1024 * GIB)},
        "model_config": LLAMA_7B,
    }
    request = wire.message_from_dict({**document, **changes}, service_pb2.CheckConfigRequest)
    return static.check_config(request)


def test_check_config_answers_with_the_forecast():
    response = asked()
    memory = response.memory
    assert [(s.stage, s.offload) for s in memory.stages][:3] == [(0, "none"), (1, "none"), (2, "none")]
    submitted = memory.stages[2]
    assert submitted.states_bytes < submitted.total_bytes < submitted.available_bytes == 80 * GIB
    assert (submitted.fits, memory.stages[0].fits) == (True, False)
    assert memory.largest_micro_batch_size > 4
    assert memory.host_bytes > 100 * GIB
    outcomes = {c.rule_id: wire.message_to_dict(c)["outcome"] for c in response.checks}
    assert (outcomes["M107"], outcomes["M108"]) == ("OUTCOME_PASSED", "OUTCOME_PASSED")
    assert outcomes["M101"] == "OUTCOME_SKIPPED"


def test_check_config_finds_what_will_not_fit():
    response = asked(cluster={"num_gpus": 8, "gpu_memory_bytes": str(16 * GIB)})
    (finding,) = [f for f in response.findings if f.rule_id == "M107"]
    assert finding.rule == "will-not-fit"
    assert wire.message_to_dict(response)["verdict"] == "VERDICT_FAIL"
    assert finding.fix.patch


@pytest.mark.parametrize("missing", ["model_config", "cluster"])
def test_without_model_or_cluster_the_rules_are_skipped_and_there_is_no_forecast(missing):
    response = asked(**{missing: {}}) if missing == "cluster" else asked(model_config=None)
    assert not response.HasField("memory")
    for check in response.checks:
        if check.rule_id in ("M107", "M108"):
            assert wire.message_to_dict(check)["outcome"] == "OUTCOME_SKIPPED"
            assert check.reason


def test_an_empty_model_config_is_none():
    request = service_pb2.CheckConfigRequest()
    request.model_config.CopyFrom(struct_pb2.Struct())
    assert not static.check_config(request).HasField("memory")


@pytest.fixture
def job(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(LLAMA_7B))
    (tmp_path / "ds.json").write_text(json.dumps(CONFIG, indent=2))
    (tmp_path / "training.json").write_text(json.dumps(TRAINING))
    return [
        "lint", str(tmp_path / "ds.json"), "--model", str(tmp_path / "model"), "--num-gpus", "8", "--training",
        str(tmp_path / "training.json"), "--loop", "trainer",
    ]  # fmt: skip


def run(arguments, capsys):
    code = app.run(arguments)
    return code, capsys.readouterr().out


def test_lint_prints_the_table(job, capsys):
    code, out = run([*job, "--gpu-memory", "80GiB"], capsys)
    assert code == 0
    assert "Memory per GPU on the target cluster" in out
    assert "ZeRO-3 +optimizer offload" in out
    assert "largest micro-batch that fits" in out
    code, out = run([*job, "--gpu-memory", "16GiB"], capsys)
    assert code == 1
    assert "will-not-fit" in out


@pytest.mark.parametrize("format_", ["json", "markdown", "html"])
def test_lint_has_the_forecast_in_every_report(job, format_, capsys):
    code, out = run([*job, "--gpu-memory", "80GiB", "--format", format_], capsys)
    assert code == 0
    if format_ == "json":
        memory = json.loads(out)["memory"]
        assert len(memory["stages"]) == 7
        assert memory["stages"][2]["available_bytes"] == str(80 * GIB)
    else:
        assert "ZeRO-2 +optimizer offload" in out
        assert "80.0 GiB" in out


def test_a_bare_file_says_nothing_of_memory(job, capsys):
    _, out = run(job[:2], capsys)
    assert "Memory" not in out


def test_lint_says_why_there_is_no_forecast_where_one_was_asked_for(job, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    without_model = [*job[:2], *job[4:]]
    _, out = run([*without_model, "--gpu-memory", "80GiB"], capsys)
    assert "the model's config.json was not given" in out

"""`hotfire lint --fix`, `--diff`, `--show-effective`."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from hotfire import static
from hotfire.cli import app
from hotfire.dsconfig import positions
from hotfire.dsconfig.account import account
from hotfire.fixing import fix, why_not_safe
from hotfire.rules.engine import judge
from hotfire.rules.evidence import Cluster, Evidence

CONFIG = """{
  // our best
  "train_micro_batch_size_per_gpu": "auto",
  "gradient_accumulation_steps": "4",
  "zero_optimisation": {
    "stage": 2,               // 3 is too slow here
    "stage3_prefetch_bucket_size": 1000000
  },
  "cuda_visible_devices": "0"
}
"""
FIXED = """{
  // our best
  "train_micro_batch_size_per_gpu": "auto",
  "gradient_accumulation_steps": 4,
  "zero_optimization": {
    "stage": 2               // 3 is too slow here
  }
}
"""


@pytest.fixture
def hotfire(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments):
        code = app.run([str(a) for a in arguments])
        return code, *capsys.readouterr()

    return run


def findings(text, **evidence):
    config = positions.read_config(text)
    job = Evidence(
        config=config, training={}, cluster=Cluster(), spec={"deepspeed": config.given}, **evidence
    )
    return job, judge(job, only=lambda rule: rule.category == "config").findings


def test_fix_writes_the_safe_ones_and_leaves_the_rest_of_the_file_alone(hotfire):
    Path("ds.json").write_text(CONFIG)
    code, out, err = hotfire("lint", "ds.json", "--fix")
    assert Path("ds.json").read_text() == FIXED
    assert code == 0
    assert "zero_optimisation" not in out
    assert "4 safe fixes written to ds.json" in err
    assert "left to you: C101" in err
    before = Path("ds.json").stat().st_mtime_ns
    assert "no safe fix" in hotfire("lint", "ds.json", "--fix")[2]
    assert Path("ds.json").stat().st_mtime_ns == before


@pytest.mark.skipif(shutil.which("patch") is None, reason="no patch program")
def test_diff_is_a_patch_that_does_the_same(hotfire):
    Path("ds.json").write_text(CONFIG)
    code, out, _ = hotfire("lint", "ds.json", "--diff")
    assert code == 1
    assert Path("ds.json").read_text() == CONFIG
    subprocess.run(["patch", "-p1"], input=out, text=True, check=True, capture_output=True)
    assert Path("ds.json").read_text() == FIXED


def test_diff_of_a_good_config_is_empty(hotfire):
    Path("ds.json").write_text('{"train_batch_size": 8, "zero_optimization": {"stage": 2}}')
    assert hotfire("lint", "ds.json", "--diff")[:2] == (0, "")


@pytest.mark.parametrize(
    "options", [["--fix", "--diff"], ["--diff", "--format", "json"], ["--diff", "--format", "sarif"]]
)
def test_what_does_not_go_together(hotfire, options):
    Path("ds.json").write_text(CONFIG)
    assert hotfire("lint", "ds.json", *options)[0] == 2


def test_fix_needs_a_file_of_its_own(hotfire):
    Path("spec.json").write_text(json.dumps({"deepspeed": {"zero_optimisation": {"stage": 2}}}))
    code, _, err = hotfire("lint", "spec.json", "--fix")
    assert code == 2
    assert "in a file of its own" in err


@pytest.mark.parametrize(
    ("text", "rule", "reason"),
    [
        ('{"train_batch_size": 8, "zero_optimisation": {"stage": 2}}', "unknown-key", None),
        ('{"train_batch_size": "8"}', "wrong-type", None),
        ('{"train_batch_size": 8, "zero_optimization": {"stage": 2, "reduce_bucket_size": 5e8}}', None, None),
        (
            '{"train_batch_size": 8, "bf16": {"enabled": true}, "bfloat16": {"enabled": true}}',
            "ignored-setting",
            None,
        ),
        ('{"train_batch_size": 8, "log": 1}', "unknown-key", None),
        (
            '{"train_batch_size": 8, "offload_optimizer": {"device": "cpu"}, "zero_optimization": {"stage": 2}}',
            "ignored-setting",
            "it changes what the job does",
        ),
        (
            '{"train_batch_size": 8, "zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}}}',
            "ignored-setting",
            "there is more than one way",
        ),
        (
            '{"train_batch_size": 8, "bf16": {"enabled": true}, "fp16": {"enabled": true}}',
            "precision-conflict",
            "there is more than one way",
        ),
    ],
)
def test_what_is_safe(text, rule, reason):
    evidence, found = findings(text)
    found = [f for f in found if f.fix is not None and f.fix.patch]
    assert {f.rule for f in found} == ({rule} if rule else set())
    for finding in found:
        assert why_not_safe(evidence, finding) == reason
        assert bool(fix(evidence, [finding]).applied) == (reason is None)


def test_a_fixed_config_has_nothing_more_to_fix():
    evidence, found = findings(CONFIG)
    fixed = fix(evidence, found)
    again, left = findings(fixed.text)
    assert fix(again, left).applied == [] or fix(*findings(fix(again, left).text)).applied == []


def test_the_account_names_every_difference_once():
    given = {"a": "auto", "b": 1, "old": True, "x": {"k": "auto", "m": 2}, "_c": "why", "off": 1}
    effective = {"a": 4, "b": 1, "new": True, "x": {"m": 2, "n": 3}, "off": 1, "_c": "why"}
    lines = account(given, effective, unread={"/off"})
    assert [(line.sign, line.pointer) for line in lines] == [
        ("-", "/a"),
        ("+", "/a"),
        (" ", "/b"),
        ("-", "/old"),
        (" ", "/x"),
        ("-", "/x/k"),
        (" ", "/x/m"),
        ("+", "/x/n"),
        (" ", "/_c"),
        ("-", "/off"),
        ("+", "/new"),
    ]
    # What stands without "-" is what takes effect.
    rebuilt = {line.pointer: line.value for line in lines if line.sign != "-" and not line.section}
    assert rebuilt == {"/a": 4, "/b": 1, "/x/m": 2, "/x/n": 3, "/_c": "why", "/new": True}


def test_show_effective_resolves_merges_drops_and_draws(hotfire):
    Path("ds.json").write_text(
        json.dumps(
            {
                "train_batch_size": "auto",
                "train_micro_batch_size_per_gpu": "auto",
                "gradient_accumulation_steps": "auto",
                "bf16": {"enabled": "auto"},
                "zero_optimization": {"stage": 3, "reduce_bucket_size": "auto", "cpu_offload": True},
                "log": 1,
            }
        )
    )
    Path("model").mkdir()
    Path("model/config.json").write_text('{"hidden_size": 1024}')
    Path("args.yaml").write_text(
        "bf16: true\nper_device_train_batch_size: 2\nwarmup_steps: 10\nnum_train_epochs: 2\n"
    )
    options = ["--training", "args.yaml", "--num-gpus", "16", "--model", "model", "--loop", "trainer"]
    _, out, _ = hotfire("lint", "ds.json", *options, "--num-train-rows", "3200", "--show-effective")
    shown = " ".join(out.split())
    for part in (
        '- train_batch_size: "auto" + train_batch_size: 32 from the arguments',
        "+ enabled: true from the arguments",
        "+ reduce_bucket_size: 1048576 from the arguments",
        "- cpu_offload: true an old name",
        '+ offload_optimizer: {"device": "cpu"} the name of cpu_offload now',
        "+ overlap_comm: true default",
        "- log: 1 without effect",
        "highest 5.0e-05 at step 11, 2.6e-07 at step 200",
    ):
        assert part in shown, part
    assert "+1---" in out
    _, out, _ = hotfire("lint", "ds.json", *options, "--show-effective")
    assert "the length of the job is not known" in out
    _, out, _ = hotfire("lint", "ds.json", *options, "--show-effective", "--format", "markdown")
    assert "```diff" in out
    _, out, _ = hotfire("lint", "ds.json", *options, "--format", "json", "--show-effective")
    assert json.loads(out)["effective_config"]["train_batch_size"] == 32


def test_the_answer_needs_no_service_library(tmp_path):
    """Loading grpc or torch would cost more than the whole lint."""
    import sys

    (tmp_path / "ds.json").write_text(CONFIG)
    code = (
        "import sys; from hotfire.cli import app; app.run(['lint', sys.argv[1]]); "
        "print(sorted({'grpc', 'torch', 'deepspeed', 'transformers', 'asyncio'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "ds.json"], capture_output=True, text=True, timeout=60
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_static_answer_is_that_of_the_service():
    from hotfire.v1 import preflight_service_pb2 as service_pb2

    request = service_pb2.CheckConfigRequest()
    request.deepspeed.config_json = CONFIG
    response = static.check_config(request)
    assert (
        response.effective_config.fields["zero_optimization"].struct_value.fields["stage"].number_value == 0
    )
    assert {f.rule for f in response.findings} >= {"unknown-key", "wrong-type"}

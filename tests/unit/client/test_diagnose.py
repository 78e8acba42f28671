"""`hotfire diagnose` and `hotfire.diagnose()`: signatures of public failures, and what may not be claimed of them."""

import json
import math
import xml.etree.ElementTree as ET

import pytest

import hotfire
from hotfire.cli import app
from hotfire.errors import SettingsError, SpecError
from hotfire.rules.evidence import Severity, Verdict

NAN, INF = math.nan, math.inf


def state(tmp_path, entries, **more):
    history = [
        {
            "step": n,
            "epoch": n / 100,
            **dict(zip(("loss", "grad_norm", "learning_rate"), values, strict=True)),
        }
        for n, values in enumerate(entries, start=1)
    ]
    for entry in history:
        for name in [k for k, v in entry.items() if v is None]:
            del entry[name]
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"log_history": history, "max_steps": 1000, **more}))
    return path


def names(found):
    return [cause.cause for cause in found.causes]


def rules(found):
    return {f.rule for f in found.findings}


def ds_config(tmp_path, **zero):
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(ds(zero)))
    return path


def ds(zero):
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_clipping": 1.0,
        "bf16": {"enabled": True},
        "zero_optimization": zero,
    }


def spec(*, version=None, num_gpus=8, **zero):
    document = {"deepspeed": ds(zero), "cluster": {"num_gpus": num_gpus}}
    if version is not None:
        document["cluster"]["versions"] = {"deepspeed": version}
    return document


HEALTHY = [(2.5 - n / 20, 1.3 + n % 3 / 10, 1e-4) for n in range(20)]
LABELS = [(0.0, 0.0, 1e-4 * (1 - n / 30)) for n in range(20)]


def test_no_labels_is_told_from_a_race(tmp_path):
    """zai-org/GLM-4 issue 260: loss 0.0, grad_norm 0.0, a moving learning rate."""
    found = hotfire.diagnose(state(tmp_path, LABELS))
    assert found.verdict is Verdict.FAIL
    assert names(found)[0] == "no-supervised-tokens"
    assert "zero-gradient-race" not in names(found)
    assert any("race" in text for text in found.reading.excluded)
    assert rules(found) == {"zero-gradient", "zero-loss"}
    assert found.headline.startswith(
        "The gradient norm is exactly 0 at all 20 logged steps, which is what a log shows"
    )
    assert "hotfire check decides" in found.headline
    assert "because" not in found.headline  # nothing that a log does not prove


def test_known_version_drops_the_suspicion_of_another(tmp_path):
    path = state(tmp_path, LABELS)
    assert "deepspeed-0.14.3-norm" in names(hotfire.diagnose(path))
    newer = hotfire.diagnose(path, spec=spec(version="0.18.2", stage=2))
    assert "deepspeed-0.14.3-norm" not in names(newer)


@pytest.mark.parametrize("norm", [1.0, 2**0.5, 3**0.5, NAN])
def test_a_race_comes_first_where_config_and_version_have_one(tmp_path, norm):
    """hiyouga/LlamaFactory issue 8137: normal, then 0.0 with 1.414 for ever."""
    path = state(tmp_path, HEALTHY[:6] + [(0.0, norm, 1e-4)] * 14)
    raced = hotfire.diagnose(path, spec=spec(version="0.16.4", stage=2, overlap_comm=True))
    assert raced.verdict is Verdict.FAIL
    assert names(raced)[0] == "zero-gradient-race"
    assert "double-buffer-swap" in raced.causes[0].versions
    assert "overlap_comm=false" in raced.causes[0].decided_by
    assert "known-bad-version" in rules(raced)  # the config rules ran, too
    # Without overlap, or with a release that has no such fault, it is no candidate.
    for other in (
        spec(version="0.16.4", stage=2, overlap_comm=False),
        spec(version="0.19.8", stage=2, overlap_comm=True),
    ):
        assert "zero-gradient-race" not in names(hotfire.diagnose(path, spec=other))
    # Not knowing is not excluding.
    unknown = hotfire.diagnose(path)
    assert "zero-gradient-race" in names(unknown)[1:]
    assert "--spec" in next(c.why for c in unknown.causes if c.cause == "zero-gradient-race")


def test_nan_from_the_first_step_is_the_models_or_its_precisions(tmp_path):
    """hiyouga/LlamaFactory issue 8088: one card, LoRA, gn nan at once."""
    found = hotfire.diagnose(state(tmp_path, [(0.0, NAN, 1e-4)] * 10))
    assert names(found)[0] == "non-finite-forward"
    assert "non-finite-gradient" in rules(found)
    assert "rows without labels alone: their gradient norm is exactly 0.0" in found.reading.excluded


def test_infinite_norm_and_a_stuck_rate_are_skipped_steps(tmp_path):
    """DeepSpeed from 0.19.7 on."""
    found = hotfire.diagnose(state(tmp_path, [(0.0, INF, 0.0)] * 10))
    assert names(found)[0] == "non-finite-gradient"
    assert {"all-steps-skipped", "non-finite-gradient"} <= rules(found)


@pytest.mark.parametrize("norm", [0.0, None])
def test_flat_loss_and_rate_0_are_overflows(tmp_path, norm):
    """OpenBMB/MiniCPM-V issue 346; older Trainers print no norm."""
    found = hotfire.diagnose(state(tmp_path, [(2.4388, norm, 0.0)] * 10))
    assert found.verdict is Verdict.FAIL
    assert names(found)[0] == "fp16-overflow"
    assert "all-steps-skipped" in rules(found)
    assert "zero-gradient" not in rules(found)


def test_the_search_for_the_scale_is_no_fault(tmp_path):
    found = hotfire.diagnose(state(tmp_path, [(2.4, 0.0, 0.0)] * 2 + HEALTHY))
    assert [f for f in found.findings if f.severity is not Severity.INFO] == []


def test_no_gradient_reaches_the_weights(tmp_path):
    found = hotfire.diagnose(state(tmp_path, [(2.4 + n % 2 / 10, 0.0, 1e-4) for n in range(10)]))
    assert names(found) == ["no-gradient", "norm-printed-wrong"]
    falling = hotfire.diagnose(state(tmp_path, [(2.4 - n / 10, 0.0, 1e-4) for n in range(10)]))
    assert names(falling)[0] == "norm-printed-wrong"


def test_without_a_norm_zero_and_nan_are_not_told_apart(tmp_path):
    path = tmp_path / "trainer_log.jsonl"
    lines = [{"current_steps": n, "total_steps": 99, "loss": 0.0, "lr": 1e-5} for n in range(1, 9)]
    path.write_text("\n".join(map(json.dumps, lines)))
    found = hotfire.diagnose(path)
    assert found.verdict is Verdict.FAIL
    assert names(found)[0] == "no-supervised-tokens"
    assert "non-finite-forward" in names(found)
    (finding,) = found.findings
    assert finding.evidence["mechanism"] == "zero-or-nan"
    assert "not in the log" in finding.message


def test_reinforcement_learning(tmp_path):
    def entry(n, norm, spread):
        return {
            "step": n,
            "loss": 0.0,
            "grad_norm": norm,
            "learning_rate": 1e-6,
            "reward": 0.5,
            "reward_std": spread,
        }

    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"log_history": [entry(n, 0.04, 0.3) for n in range(1, 9)]}))
    assert hotfire.diagnose(path).verdict is Verdict.PASS
    path.write_text(json.dumps({"log_history": [entry(n, 0.0, 0.0) for n in range(1, 9)]}))
    assert names(hotfire.diagnose(path)) == ["equal-rewards"]


def test_healthy(tmp_path):
    found = hotfire.diagnose(state(tmp_path, HEALTHY))
    assert (found.verdict, found.findings, found.causes) == (Verdict.PASS, [], [])
    assert "nothing wrong in what a log shows" in found.headline
    outcomes = {check.rule: check for check in found.judgement.checks}
    assert outcomes["zero-loss"].outcome == "PASSED"
    # What the log cannot know is not passed.
    for rule in ("crash", "hang", "ranks-diverge", "no-gradient-for-trainable", "no-supervised-tokens"):
        assert outcomes[rule].outcome == "SKIPPED"
        assert outcomes[rule].reason


def test_a_loss_of_which_nan_may_have_been_left_out_is_not_called_finite(tmp_path):
    outcomes = {
        c.rule: c.outcome for c in hotfire.diagnose(state(tmp_path, [(2.4, None, 1e-4)] * 9)).judgement.checks
    }
    assert outcomes["non-finite-loss"] == "SKIPPED"


def test_too_little(tmp_path):
    assert hotfire.diagnose(state(tmp_path, HEALTHY[:2])).verdict is Verdict.INCONCLUSIVE
    assert app.run(["diagnose", str(state(tmp_path, HEALTHY[:2]))]) == 3


def test_divergence_and_crash(tmp_path):
    rising = [(2.0, 1.0, 1e-2)] * 10 + [(9.0 + n, 50.0, 1e-2) for n in range(6)]
    assert rules(hotfire.diagnose(state(tmp_path, rising))) == {"loss-diverging"}
    path = tmp_path / "train.log"
    path.write_text(
        "".join(
            f"{{'loss': 2.{n}, 'grad_norm': 1.0, 'learning_rate': 1e-4, 'epoch': 0.{n}}}\n" for n in range(5)
        )
        + "Traceback (most recent call last):\n  File 'x'\nRuntimeError: element 0 of tensors does not require grad\n"
    )
    found = hotfire.diagnose(path)
    assert found.verdict is Verdict.FAIL
    assert rules(found) == {"crash"}
    assert "after step 5 of the log" in found.headline


def test_no_patch_into_a_document_that_nobody_has_seen(tmp_path):
    rising = [(2.0, 1.0, 1e-2)] * 10 + [(9.0 + n, 50.0, 1e-2) for n in range(6)]
    path = state(tmp_path, rising)
    (alone,) = hotfire.diagnose(path).findings
    assert alone.fix.patch == []
    with_spec = hotfire.diagnose(
        path, spec={"training": {"learning_rate": 1e-2, "max_steps": 99}, "deepspeed": {}}
    )
    fix = next(f.fix for f in with_spec.findings if f.rule == "loss-diverging")
    assert fix.patch[0].path == "/training/learning_rate"
    assert fix.reason == "a log can be read, not run"


@pytest.mark.parametrize("form", ["config", "spec"])
def test_the_command_takes_a_config_or_a_spec(tmp_path, form, capsys):
    path = state(tmp_path, HEALTHY)
    given = ds_config(tmp_path, stage=2, overlap_com=True)
    if form == "spec":
        (tmp_path / "hotfire.yaml").write_text(f"deepspeed: {given}\n")
        given = tmp_path / "hotfire.yaml"
    assert app.run(["diagnose", str(path), "--spec", str(given), "--format", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert next(f["rule"] for f in answer["findings"]) == "unknown-key"


def test_json(tmp_path, capsys):
    path = state(tmp_path, HEALTHY[:4] + [(0.0, NAN, 1e-4)] * 6)
    assert app.run(["diagnose", str(path), "--format", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert {"verdict", "headline", "findings", "checks", "causes", "excluded", "log"} == set(answer)
    assert answer["verdict"] == "VERDICT_FAIL"
    assert answer["findings"][0]["evidence"]["likely_causes"][0] == answer["causes"][0]["cause"]
    assert all(cause["decided_by"] for cause in answer["causes"])
    assert answer["log"]["num_entries"] == 10


@pytest.mark.parametrize("format_", ["pretty", "markdown", "sarif", "junit", "github", "html"])
def test_formats(tmp_path, format_, capsys):
    path = state(tmp_path, LABELS)
    assert app.run(["diagnose", str(path), "--format", format_]) == 1
    text = capsys.readouterr().out
    assert "zero-gradient" in text
    assert "no-supervised-tokens" in text
    if format_ == "junit":
        ET.fromstring(text)
    if format_ == "sarif":
        (run,) = json.loads(text)["runs"]
        uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert uri.endswith("trainer_state.json")


def test_refused(tmp_path, capsys):
    assert app.run(["diagnose", str(tmp_path / "none"), "--format", "json"]) == 2
    assert "there is no file" in json.loads(capsys.readouterr().out)["error"]["message"]
    with pytest.raises(SettingsError):
        hotfire.diagnose(tmp_path / "none")
    with pytest.raises(SpecError):
        hotfire.diagnose(state(tmp_path, HEALTHY), spec={"deepspeed": {}, "trainin": {}})


def test_warnings_fail_on_demand(tmp_path):
    path = state(tmp_path, [*HEALTHY, (0.0, 0.0, 1e-4), *HEALTHY])
    assert app.run(["diagnose", str(path)]) == 0
    assert app.run(["diagnose", str(path), "--fail-on", "warn"]) == 1


def test_a_job_that_has_run_had_somebody_who_resolved_its_auto(tmp_path):
    document = spec()
    document["deepspeed"]["train_micro_batch_size_per_gpu"] = "auto"
    found = hotfire.diagnose(state(tmp_path, [(0.0, 0.0, 1e-4)] * 3), spec=document)
    assert "unresolved-auto" not in rules(found)
    assert "zero-gradient" in rules(found)

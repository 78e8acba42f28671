"""The run rules on real trials: what each injected or built-in fault looks like, and which rule names it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from train_loop_jobs import TRAINING, RunTrial, ds_config, make_rows, write_rows

from hotfire.rules.engine import judge
from hotfire.rules.evidence import Evidence, Finding, Severity, Trial
from hotfire.rules.run import RUN_RULES
from hotfire.rules.zero.compare import compare

LOOPS = ["TRAINER", "DEEPSPEED"]
SECOND_LAYER = r"layers\.1\."


def findings(*trials: Trial, learning_rate: float = TRAINING["learning_rate"]) -> dict[str, Finding]:
    """What the run rules say, INFO left out; every trial ran to its end."""
    for trial in trials:
        assert trial.completed, trial.error
    training = TRAINING | {"learning_rate": learning_rate}
    judged = judge(Evidence(trials=list(trials), training=training), rules=RUN_RULES)
    return {f.rule: f for f in judged.findings if f.severity is not Severity.INFO}


def run_faulty(run_trial: RunTrial, fault: dict[str, Any], stage: int, loop: str, **more: Any) -> Trial:
    config = ds_config(stage, more.pop("precision", "bf16"))
    return run_trial(config, loop, faults=fault, num_steps=more.pop("num_steps", 2), **more)


# Stage 0 holds whole copies, which a fault on one rank drives apart; at 1 to 3 the weights agree all the same
# (each rank hands its shard to the others), and the shard's own numbers speak.
STALE = {"stale_gradient": {"rank": 1, "from_step": 2}}
CLIP = {"clip": {"rank": 1, "value": 0.01}}


@pytest.mark.parametrize(
    ("stage", "loop", "precision"),
    [
        (0, "TRAINER", "fp32"),
        (2, "DEEPSPEED", "bf16"),
        (3, "TRAINER", "bf16"),
        *(
            pytest.param(stage, loop, precision, marks=pytest.mark.slow)
            for stage in (0, 1, 2, 3)
            for loop in LOOPS
            for precision in ("bf16", "fp16")
            if (stage, precision) != (0, "fp16")
        ),
    ],
)
@pytest.mark.parametrize(("fault", "step"), [(CLIP, 1), (STALE, 2)], ids=["clip", "stale"])
def test_a_fault_on_one_rank_diverges(
    run_trial: RunTrial, fault: dict[str, Any], step: int, stage: int, loop: str, precision: str
) -> None:
    trial = run_faulty(run_trial, fault, stage, loop, precision=precision)
    found = findings(trial)
    assert list(found) == ["ranks-diverge"]
    place = found["ranks-diverge"].location
    assert (place.step, place.rank) == (step, 1)
    compared, differing = (
        [check[name] for check in trial.facts["replicas"]] for name in ("num_compared", "num_differing")
    )
    assert compared == [21, 21]  # at stage 3 too: these parameters are small enough to be kept whole
    assert (differing[-1] > 0) is (stage == 0)


@pytest.mark.parametrize(
    ("stage", "loop"),
    [
        (2, "TRAINER"),
        *(
            pytest.param(stage, loop, marks=pytest.mark.slow)
            for stage in (0, 1, 2, 3)
            for loop in LOOPS
            if (stage, loop) != (2, "TRAINER")
        ),
    ],
)
def test_a_lost_bucket(run_trial: RunTrial, stage: int, loop: str) -> None:
    reference = run_trial(None, loop, num_steps=2, reference_config=ds_config(2, "bf16"))
    kept = run_faulty(run_trial, {"lost_bucket": {"parameters": SECOND_LAYER, "keep": "local"}}, stage, loop)
    # Each rank steps with its own gradient: whole copies drift apart, shards give another norm.
    assert compare(kept, reference).agrees is False
    assert ("ranks-diverge" in findings(kept)) is (stage == 0)
    zeros = run_faulty(run_trial, {"lost_bucket": {"parameters": SECOND_LAYER, "keep": "zeros"}}, stage, loop)
    assert compare(zeros, reference).agrees is False
    assert list(findings(zeros)) == ["no-gradient-for-trainable"]
    silent = {name for group in zeros.groups for name in group.silent_parameters}
    assert len(silent) == 9
    assert all(name.startswith("model.layers.1.") for name in silent)


@pytest.mark.parametrize("loop", LOOPS)
def test_nan_from_a_step_on(run_trial: RunTrial, loop: str) -> None:
    fault = {"nan_loss": {"rank": 1, "from_step": 2}}
    trial = run_faulty(run_trial, fault, 2, loop, num_steps=3, max_attempts=4)
    found = findings(trial)
    assert {"non-finite-loss", "non-finite-gradient"} == set(found)
    assert (found["non-finite-loss"].location.step, found["non-finite-loss"].location.rank) == (2, 1)
    assert [s.applied for s in trial.steps] == [True, False, False, False]


def test_a_fault_tied_to_a_key_spares_the_others(run_trial: RunTrial) -> None:
    fault = {"lost_bucket": {"keep": "zeros", "when": {"zero_optimization/overlap_comm": True}}}
    config = ds_config(2)
    assert findings(run_trial(config, "DEEPSPEED", num_steps=1, faults=fault)) == {}
    config["zero_optimization"]["overlap_comm"] = True
    found = findings(run_trial(config, "DEEPSPEED", num_steps=1, faults=fault))
    assert "zero-gradient" in found


@pytest.mark.parametrize("loop", LOOPS)
def test_ranks_that_see_the_same_rows(run_trial: RunTrial, loop: str) -> None:
    trial = run_faulty(run_trial, {"same_rows": {"rank": 1}}, 2, loop)
    found = findings(trial)
    assert list(found) == ["ranks-see-same-data"]
    assert found["ranks-see-same-data"].severity is Severity.ERROR


@pytest.mark.parametrize("loop", LOOPS)
def test_a_sample_smaller_than_a_step_is_no_fault(run_trial: RunTrial, tmp_path: Path, loop: str) -> None:
    write_rows(tmp_path / "short", make_rows(2, masked=lambda _row, position: position < 3))
    trial = run_trial(ds_config(2), loop, prepared_dir=str(tmp_path / "short"), num_steps=2)
    rows = [[m.rows for m in rank.micro_batches] for rank in trial.steps[0].ranks]
    assert rows[0] == rows[1] == [[1, 2], [1, 2]]
    assert findings(trial) == {}


def test_a_loss_that_is_summed_and_not_averaged(run_trial: RunTrial) -> None:
    config = ds_config(2)
    reference = run_trial(None, "DEEPSPEED", num_steps=1, reference_config=config)
    trial = run_trial(config, "DEEPSPEED", num_steps=1, faults={"scale_loss": {"factor": 2.0}})
    found = findings(trial, reference)
    assert list(found) == ["accumulation-scaling"]
    assert found["accumulation-scaling"].evidence["factor"] == 2


@pytest.mark.parametrize("size", [0.0, 1e-3])
def test_the_same_run_again(run_trial: RunTrial, size: float) -> None:
    first, again = (
        run_trial(ds_config(2, "bf16"), "DEEPSPEED", name=name, faults={"noise": {"size": size}})
        for name in ("candidate", "candidate-again")
    )
    again.repeats = first.name
    again.role = "STAGE"
    found = findings(first, again)
    assert list(found) == ([] if size == 0 else ["nondeterministic"])
    if size:
        assert found["nondeterministic"].location.step == 1


def rate(config: dict[str, Any], value: float) -> dict[str, Any]:
    config["optimizer"]["params"]["lr"] = value
    return config


@pytest.fixture(scope="session")
def bf16_model_dir(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("bf16")
    AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def test_16_bit_weights_without_an_fp32_copy(run_trial: RunTrial, bf16_model_dir: Path) -> None:
    """A config without `bf16` on a model stored in bf16: transformers 5 loads it so, and stage 0 keeps it so."""
    kwargs: dict[str, Any] = {"training": {"learning_rate": 1e-5}, "model": {"path": str(bf16_model_dir)}}
    trial = run_trial(rate(ds_config(0), 1e-5), "TRAINER", **kwargs)
    assert trial.facts["master_dtypes"] == ["bfloat16"]
    found = findings(trial, learning_rate=1e-5)
    assert list(found) == ["update-below-precision"]
    assert found["update-below-precision"].severity is Severity.ERROR
    assert 0.8 < found["update-below-precision"].evidence["rounded_away_share"] < 0.99
    # The proposed patch: bf16 said aloud, at stage 1, and the copy is there.
    cured = run_trial(rate(ds_config(1, "bf16"), 1e-5), "TRAINER", **kwargs)
    assert cured.facts["master_dtypes"] == ["float32"]
    assert findings(cured, learning_rate=1e-5) == {}
    assert cured.steps[0].rounded_away_share < 0.001


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize(
    ("value", "severity"), [(1e-5, Severity.ERROR), (1e-4, Severity.WARNING), (1e-3, Severity.WARNING)]
)
def test_16_bit_masters(run_trial: RunTrial, stage: int, value: float, severity: Severity) -> None:
    config = rate(ds_config(stage, "bf16"), value)
    config["bf16"] |= {"bf16_master_weights_and_grads": True, "bf16_optimizer_states": True}
    trial = run_trial(config, "TRAINER", training={"learning_rate": value})
    found = findings(trial, learning_rate=value)
    assert {name: f.severity for name, f in found.items()} == {"update-below-precision": severity}


def test_clipping_far_below_the_norms(run_trial: RunTrial) -> None:
    trial = run_trial(ds_config(2, gradient_clipping=1e-3), "DEEPSPEED", num_steps=2)
    assert list(findings(trial)) == ["clipping-saturated"]
    assert trial.steps[0].ranks[0].gradient_used == pytest.approx(
        1e-3 / trial.steps[0].grad_norm_measured, rel=1e-3
    )


# --- Four ways to `{'loss': 0.0, ...}`. -----------------------------------------------------------------


def changed_weights(model_dir: Path, folder: Path, factors: dict[str, float]) -> str:
    """A copy of the model whose weights of the given names are multiplied; by NaN: one element is NaN."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(model_dir, folder)
    weights = load_file(folder / "model.safetensors")
    for name, factor in factors.items():
        if math.isnan(factor):
            weights[name][0, 0] = math.nan
        else:
            weights[name] *= factor
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


MLP = "model.layers.0.mlp."
OVERFLOWING = {f"{MLP}gate_proj.weight": 1e3, f"{MLP}up_proj.weight": 1e3, f"{MLP}down_proj.weight": 1e3}


@pytest.mark.parametrize("cause", ["labels", "overflow", "weights", "zero"])
def test_four_causes_of_the_same_log_line(
    run_trial: RunTrial, model_dir: Path, tmp_path: Path, cause: str
) -> None:
    config, kwargs = ds_config(2, "fp16" if cause == "overflow" else "bf16"), {}
    if cause == "labels":
        write_rows(tmp_path / "masked", make_rows(16, masked=lambda _row, _position: True))
        kwargs = {"prepared_dir": str(tmp_path / "masked")}
    elif cause == "overflow":
        kwargs = {"model": {"path": changed_weights(model_dir, tmp_path / "model", OVERFLOWING)}}
    elif cause == "weights":
        changes = {f"{MLP}down_proj.weight": math.nan}
        kwargs = {"model": {"path": changed_weights(model_dir, tmp_path / "model", changes)}}
    nan = {"micro_batch": "all", "when": {"zero_optimization/stage": 2}}
    fault = {"nan_loss": nan} if cause == "zero" else {}
    trials = (
        run_trial(config, "TRAINER", faults=fault, max_attempts=3, **kwargs),
        run_trial(None, "TRAINER", reference_config=config, faults=fault, max_attempts=3, **kwargs),
    )
    candidate, reference = (findings(trial) for trial in trials)
    assert trials[0].steps[-1].logged_loss == 0.0
    mechanism = {
        "labels": "no-supervised-tokens",
        "overflow": "forward-overflow",
        "weights": "non-finite-weights",
        # The loss is NaN in this trial only, whose forward pass, repeated, is finite.
        "zero": "non-finite-forward",
    }[cause]
    assert candidate["non-finite-loss"].evidence["mechanism"] == mechanism
    if cause == "zero":
        assert reference == {}
        assert "non_finite_module" not in trials[0].facts
        assert "Run again, the same forward pass is finite" in candidate["non-finite-loss"].message
    else:
        assert reference["non-finite-loss"].evidence["mechanism"] == mechanism
    (line,) = [
        f.evidence["log_line"]
        for f in judge(Evidence(trials=[trials[0]], training={}), rules=RUN_RULES).findings
        if f.rule == "trainer-log-misleads"
    ]
    assert line.startswith("{'loss': 0.0, 'grad_norm': " + ("0.0" if cause == "labels" else "inf"))
    if cause == "overflow":
        assert trials[0].facts["non_finite_parameters_at_start"] == []
        assert trials[0].facts["first_non_finite_module"] == f"{MLP}down_proj"
    if cause == "weights":
        assert candidate["non-finite-loss"].location.parameter == f"{MLP}down_proj.weight"

"""What must be seen: NaN, masks, silent adapters, a lying norm, dead and hanging ranks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from train_loop_jobs import RunTrial, ds_config, make_rows, write_rows

from hotfire.rules.evidence import TrialOutcome

LOOPS = ["TRAINER", "DEEPSPEED"]


@pytest.mark.parametrize(
    ("where", "factor_measured", "factor_engine"),
    # One of two ranks doubles its part of the sum of squares: sqrt((1 + 4) / 2) if the parts were equal.
    [("engine", False, True), ("probe", True, False)],
)
def test_a_scaled_rank_drives_measured_and_engine_apart(
    run_trial: RunTrial, where: str, factor_measured: bool, factor_engine: bool
) -> None:
    healthy = run_trial(ds_config(2, "bf16"), "DEEPSPEED", num_steps=1)
    fault = {"scale_gradient": {"rank": 1, "factor": 2.0, "where": where}}
    faulty = run_trial(ds_config(2, "bf16"), "DEEPSPEED", num_steps=1, faults=fault)
    before, after = healthy.steps[0], faulty.steps[0]
    assert before.grad_norm == pytest.approx(before.grad_norm_measured, rel=0.01)
    assert after.grad_norm != pytest.approx(after.grad_norm_measured, rel=0.01)
    assert (after.grad_norm_measured / before.grad_norm_measured > 1.1) is factor_measured
    assert (after.grad_norm / before.grad_norm > 1.1) is factor_engine


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_rank_scaled_before_the_reduction_is_seen_by_both(run_trial: RunTrial, stage: int) -> None:
    healthy = run_trial(ds_config(stage, "bf16"), "DEEPSPEED", num_steps=1)
    fault = {"scale_gradient": {"rank": 1, "factor": 3.0, "where": "local"}}
    faulty = run_trial(ds_config(stage, "bf16"), "DEEPSPEED", num_steps=1, faults=fault)
    step = faulty.steps[0]
    assert step.grad_norm == pytest.approx(step.grad_norm_measured, rel=0.01)
    assert step.grad_norm_measured / healthy.steps[0].grad_norm_measured > 1.3


@pytest.mark.parametrize("loop", LOOPS)
def test_nan_on_one_rank_is_seen_through_the_trainers_filter(run_trial: RunTrial, loop: str) -> None:
    trial = run_trial(ds_config(2, "bf16"), loop, num_steps=3, faults={"nan_loss": {"rank": 1, "step": 2}})
    assert trial.completed, trial.error
    bad = trial.steps[1]
    assert math.isnan(bad.loss)
    by_rank = [[m.loss for m in rank.micro_batches] for rank in bad.ranks]
    assert all(map(math.isfinite, by_rank[0]))
    assert math.isnan(by_rank[1][0])
    assert math.isfinite(by_rank[1][1])
    assert bad.applied is False
    assert bad.skipped_steps == 1
    assert bad.grad_norm == math.inf
    assert math.isnan(bad.grad_norm_measured)
    assert any(rank.first_non_finite_parameter for rank in bad.ranks)
    if loop == "TRAINER":
        # The filter swallows the NaN share: the log shows a finite loss that is a quarter too small.
        assert bad.logged_loss == pytest.approx(0.75 * trial.steps[0].loss, rel=0.1)
    assert [s.applied for s in trial.steps] == [
        True,
        False,
        True,
        True,
    ]  # applied steps are aimed at, not attempts


def test_nan_steps_are_applied_at_stage_0_in_fp32(run_trial: RunTrial) -> None:
    trial = run_trial(ds_config(0), "DEEPSPEED", num_steps=3, faults={"nan_loss": {"rank": 1, "step": 2}})
    assert [s.applied for s in trial.steps] == [True, True, True]
    assert len(trial.facts["non_finite_parameters_at_end"]) == 20
    assert trial.facts["non_finite_parameters_at_start"] == []


@pytest.mark.parametrize("loop", LOOPS)
def test_all_labels_masked(run_trial: RunTrial, tmp_path: Path, loop: str) -> None:
    write_rows(tmp_path / "masked", make_rows(16, masked=lambda _row, _position: True))
    for trial in (
        run_trial(ds_config(2, "bf16"), loop, prepared_dir=str(tmp_path / "masked")),
        run_trial(ds_config(3), loop, prepared_dir=str(tmp_path / "masked")),
        run_trial(None, loop, prepared_dir=str(tmp_path / "masked"), reference_config=ds_config(2)),
    ):
        assert trial.completed, trial.error
        for step in trial.steps:
            assert math.isnan(step.loss)
            assert step.num_supervised_tokens == 0
            assert (step.grad_norm, step.grad_norm_measured) == (0.0, 0.0)
            assert step.applied
            assert step.num_silent_parameters == 21
            if loop == "TRAINER":
                assert (step.logged_loss, step.logged_grad_norm) == (0.0, 0.0)
        # Weight decay alone still moves every tensor.
        assert trial.steps[0].num_decayed_only == 21
        assert trial.steps[0].update_ratio == pytest.approx(1e-3 * 0.01, rel=0.05)


def test_one_masked_micro_batch_is_nan_in_the_engine_loop_only(run_trial: RunTrial, tmp_path: Path) -> None:
    write_rows(tmp_path / "one", make_rows(16, masked=lambda row, position: row in (3, 4) or position < 3))
    trainer, engine = (
        run_trial(ds_config(2, "bf16"), loop, prepared_dir=str(tmp_path / "one"), num_steps=1)
        for loop in LOOPS
    )
    assert trainer.steps[0].loss == pytest.approx(math.log(512), abs=0.3)
    assert math.isnan(engine.steps[0].loss)
    assert engine.steps[0].applied
    (masked,) = [m for r in engine.steps[0].ranks for m in r.micro_batches if m.num_supervised_tokens == 0]
    assert masked.rows == [3, 4]
    assert "first_non_finite_module" not in engine.facts  # every module's output is finite: it is the labels


@pytest.mark.parametrize("loop", LOOPS)
def test_reentrant_checkpointing_silences_adapters_beside_a_head(run_trial: RunTrial, loop: str) -> None:
    training: dict[str, Any] = {
        "peft": {"r": 4, "target_modules": ["q_proj", "v_proj"], "modules_to_save": ["lm_head"]},
        "enable_input_require_grads": False,
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": True},
    }
    for trial in (
        run_trial(ds_config(2, "bf16"), loop, training=training),
        run_trial(None, loop, training=training, reference_config=ds_config(2, "bf16")),
    ):
        assert trial.completed, trial.error
        assert trial.steps[-1].grad_norm > 0.1  # the total looks healthy
        groups = {group.name: group for group in trial.groups}
        assert groups["head"].num_silent_parameters == 0
        for name in ("lora_a", "lora_b"):
            assert groups[name].num_silent_parameters == groups[name].num_parameters == 4
            assert groups[name].num_never_in_graph == 4
            assert len(groups[name].silent_parameters) == 4
            assert groups[name].grad_norm == 0.0
        assert any("requires_grad" in text for text in trial.facts["warnings"])


def test_lora_a_is_silent_at_the_first_step_only(run_trial: RunTrial) -> None:
    trial = run_trial(ds_config(2), "TRAINER", training={"peft": {"r": 4, "target_modules": ["q_proj"]}})
    assert [s.num_silent_parameters for s in trial.steps] == [2, 0, 0]
    assert all(group.silent_parameters == [] for group in trial.groups)


@pytest.mark.parametrize("stage", [2, 3])
def test_the_first_module_with_a_non_finite_output_is_named(
    run_trial: RunTrial, model_dir: Path, tmp_path: Path, stage: int
) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(model_dir, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] = math.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    trial = run_trial(ds_config(stage, "bf16"), "TRAINER", model={"path": str(broken)}, max_attempts=2)
    assert trial.completed, trial.error
    assert trial.facts["first_non_finite_module"] == "model.layers.1.mlp.down_proj"
    assert trial.facts["non_finite_parameters_at_start"] == ["model.layers.1.mlp.down_proj.weight"]
    assert not any(s.applied for s in trial.steps)


@pytest.mark.parametrize(
    ("loop", "how", "expected"), [("TRAINER", "raise", "InjectedFault"), ("DEEPSPEED", "kill", "Killed")]
)
def test_a_dead_rank_leaves_evidence_and_its_name(
    run_trial: RunTrial, loop: str, how: str, expected: str
) -> None:
    trial = run_trial(ds_config(2), loop, faults={"die": {"rank": 1, "step": 2, "how": how}})
    assert trial.outcome is TrialOutcome.CRASHED
    assert trial.error is not None
    assert (trial.error.type, trial.error.rank) == (expected, 1)
    assert len(trial.steps) == 1
    assert trial.steps[0].applied
    if how == "raise":
        assert trial.error.phase == "forward"


def test_a_hanging_rank_is_named(run_trial: RunTrial) -> None:
    trial = run_trial(
        ds_config(2), "DEEPSPEED", faults={"hang": {"rank": 1, "step": 2}}, collective_timeout_s=4.0
    )
    assert trial.outcome is TrialOutcome.HUNG
    assert trial.error is not None
    assert trial.error.rank == 1

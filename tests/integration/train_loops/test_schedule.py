"""Learning rates as used, the peak phase, loss scales, and what a trial changes in the config."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from train_loop_jobs import RunTrial, ds_config, make_rows, write_rows

LOOPS = ["TRAINER", "DEEPSPEED"]


def without_optimizer(stage: int) -> dict:
    config = ds_config(stage)
    del config["optimizer"]
    return config


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("is_reference", [False, True])
def test_scheduled_then_peak(run_trial: RunTrial, loop: str, is_reference: bool) -> None:
    config = without_optimizer(2)
    trial = run_trial(
        None if is_reference else config,
        loop,
        training={"lr_scheduler_type": "cosine", "warmup_steps": 100},
        num_steps=6,
        num_peak_steps=2,
        reference_config=config,
    )
    assert trial.completed, trial.error
    assert [s.phase.value for s in trial.steps] == ["SCHEDULED"] * 4 + ["PEAK"] * 2
    # The rate that the step used: the one that the Trainer logs under DeepSpeed is the next step's.
    assert [s.learning_rate for s in trial.steps] == pytest.approx([0.0, 1e-5, 2e-5, 3e-5, 1e-3, 1e-3])
    assert trial.facts["peak_learning_rate"] == pytest.approx(1e-3)
    assert trial.facts["total_steps"] == 1000
    assert trial.steps[0].update_ratio == 0.0
    assert [s.update_ratio is None for s in trial.steps] == [False, True, True, False, True, False]
    assert trial.steps[5].update_ratio > 5 * trial.steps[3].update_ratio


def test_deepspeeds_own_schedule_in_engine_and_reference(run_trial: RunTrial) -> None:
    section = {
        "type": "WarmupLR",
        "params": {"warmup_min_lr": 0, "warmup_max_lr": 2e-3, "warmup_num_steps": 50},
    }
    config = ds_config(2, scheduler=section)
    kwargs = {"num_steps": 5, "num_peak_steps": 1}
    candidate = run_trial(config, "DEEPSPEED", **kwargs)
    reference = run_trial(None, "DEEPSPEED", reference_config=config, **kwargs)
    rates = [s.learning_rate for s in candidate.steps]
    assert rates[:2] == [0.0, 0.0]  # WarmupLR spends two steps at its lower end
    assert rates[4] == pytest.approx(2e-3)
    assert [s.learning_rate for s in reference.steps] == pytest.approx(rates)
    for ours, theirs in zip(candidate.steps, reference.steps, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)


def test_the_config_is_what_clips_in_both(run_trial: RunTrial) -> None:
    config = ds_config(2)
    del config["gradient_clipping"]  # DeepSpeed's default of 1.0 then clips, whatever the arguments say
    training = {"max_grad_norm": 0.1}
    candidate = run_trial(config, "TRAINER", training=training)
    reference = run_trial(None, "TRAINER", training=training, reference_config=config)
    assert candidate.facts["engine_gradient_clipping"] == reference.facts["engine_gradient_clipping"] == 1.0
    assert candidate.steps[2].loss == pytest.approx(reference.steps[2].loss, rel=1e-5)


def test_a_loss_scale_that_only_overflows(run_trial: RunTrial) -> None:
    config = ds_config(2, fp16={"enabled": True, "initial_scale_power": 32})
    trial = run_trial(config, "TRAINER", max_attempts=4)
    assert trial.completed, trial.error
    assert [s.applied for s in trial.steps] == [False] * 4
    assert [s.skipped_steps for s in trial.steps] == [1, 2, 3, 4]
    assert [s.loss_scale for s in trial.steps] == [2.0**32, 2.0**32, 2.0**31, 2.0**30]  # read before the step
    assert all(s.grad_norm == math.inf and s.update_ratio == 0.0 for s in trial.steps)
    assert trial.facts["emulated"]


def test_a_job_shorter_than_the_trial_does_not_end_it(run_trial: RunTrial) -> None:
    trial = run_trial(
        without_optimizer(2), "TRAINER", training={"lr_scheduler_type": "linear"}, total_steps=2
    )
    assert [s.learning_rate for s in trial.steps] == pytest.approx([1e-3, 5e-4, 0.0])


@pytest.mark.parametrize("loop", LOOPS)
def test_fewer_rows_than_a_step_are_repeated_and_said(run_trial: RunTrial, tmp_path: Path, loop: str) -> None:
    write_rows(tmp_path / "short", make_rows(5, masked=lambda _row, position: position < 3))
    trial = run_trial(ds_config(2), loop, prepared_dir=str(tmp_path / "short"), num_steps=2)
    assert trial.completed, trial.error
    rows = [m.rows for r in trial.steps[0].ranks for m in r.micro_batches]
    assert rows == [[1, 2], [5, 1], [3, 4], [2, 3]]
    assert any("rows are repeated" in note for note in trial.facts["notes"])


@pytest.mark.parametrize("loop", LOOPS)
def test_without_probes(run_trial: RunTrial, loop: str) -> None:
    bare = run_trial(ds_config(2, "bf16"), loop, probes=False)
    assert bare.completed, bare.error
    probed = run_trial(ds_config(2, "bf16"), loop)
    assert [s.loss for s in bare.steps] == pytest.approx([s.loss for s in probed.steps], rel=1e-6)
    assert all(s.step_seconds > 0 and s.grad_norm_measured is None for s in bare.steps)


def test_what_the_trainer_refuses_is_the_trials_error(run_trial: RunTrial) -> None:
    trial = run_trial(ds_config(2), "TRAINER", training={"learning_rate": 5e-4})
    assert trial.error is not None
    assert trial.error.type == "ValueError"
    assert "optimizer.params.lr=0.001 vs hf learning_rate=0.0005" in trial.error.message
    assert trial.error.phase == "engine"


def test_facts(run_trial: RunTrial) -> None:
    training = {"save_steps": 7, "torch_compile": True, "no_such_argument": 1}
    trial = run_trial(ds_config(2), "TRAINER", training=training)
    assert trial.completed, trial.error
    facts = trial.facts
    assert facts["ignored_arguments"] == ["no_such_argument", "save_steps", "torch_compile"]
    assert facts["num_parameters"] == facts["num_trainable"] > 100_000
    assert (facts["num_trainable_tensors"], facts["vocab_size"], facts["optimizer"]) == (21, 512, "AdamW")
    assert {"torch", "deepspeed", "transformers"} <= set(trial.versions)
    assert trial.effective_config is not None
    assert trial.effective_config["zero_optimization"]["stage"] == 2
    assert trial.peak_memory_bytes is not None
    assert 0 < trial.peak_memory_bytes < 2**30
    assert {"init", "arguments", "model", "engine", "steps"} <= set(trial.phase_seconds)
    assert facts["num_rows"] == 24
    assert facts["master_dtypes"] == ["float32"]

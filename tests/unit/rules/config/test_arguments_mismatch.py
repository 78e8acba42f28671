"""C108."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import cured, evidence_of, lint, run

from hotfire.rules.config import ArgumentsMismatch
from hotfire.rules.evidence import Outcome, Severity

TRAINING: dict[str, Any] = {
    "loop": "TRAINER",
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 8,
    "learning_rate": 2e-4,
    "bf16": True,
    "max_steps": 100,
    "warmup_steps": 0.1,
}


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps"),
        ({"train_micro_batch_size_per_gpu": 4}, "train_micro_batch_size_per_gpu"),
        ({"train_batch_size": 32}, "train_batch_size"),
        ({"gradient_clipping": 0.5}, "gradient_clipping"),
        ({"optimizer": {"type": "AdamW", "params": {"lr": 1e-5}}}, "optimizer/params/lr"),
        ({"optimizer": {"type": "AdamW", "params": {"betas": [0.9, 0.95]}}}, "optimizer/params/betas"),
        ({"optimizer": {"type": "AdamW", "params": {"weight_decay": 0.1}}}, "optimizer/params/weight_decay"),
        (
            {"scheduler": {"type": "WarmupLR", "params": {"warmup_max_lr": 1e-5}}},
            "scheduler/params/warmup_max_lr",
        ),
        (
            {"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 5}}},
            "scheduler/params/warmup_num_steps",
        ),
        (
            {"scheduler": {"type": "WarmupDecayLR", "params": {"total_num_steps": 50}}},
            "scheduler/params/total_num_steps",
        ),
        ({"bf16": {"enabled": False}}, "bf16/enabled"),
        ({"fp16": {"enabled": True}}, "fp16/enabled"),
    ],
)
def test_bad(config: dict[str, Any], path: str) -> None:
    (finding,) = lint(ArgumentsMismatch, config, training=TRAINING, num_gpus=4)
    assert finding.severity is Severity.ERROR
    assert finding.location.config_path == f"/deepspeed/{path}"
    for fix in [finding.fix, *finding.alternatives]:
        left = cured(ArgumentsMismatch, config, fix, training=TRAINING, num_gpus=4)
        assert left == [], fix.description


def test_a_default_is_compared_too() -> None:
    (finding,) = lint(ArgumentsMismatch, {"gradient_clipping": 0.5}, training=TRAINING)
    assert "by default" in finding.message


def test_without_a_loop_it_is_a_warning() -> None:
    training = {key: value for key, value in TRAINING.items() if key != "loop"}
    (finding,) = lint(ArgumentsMismatch, {"gradient_accumulation_steps": 4}, training=training)
    assert finding.severity is Severity.WARNING


def test_other_loops_compare_nothing() -> None:
    given = evidence_of({"gradient_accumulation_steps": 4}, training={**TRAINING, "loop": "ACCELERATE"})
    assert run(ArgumentsMismatch, given)[1].outcome is Outcome.SKIPPED


def test_skips_without_arguments() -> None:
    given = evidence_of({"gradient_accumulation_steps": 4}, training={"loop": "TRAINER"})
    assert run(ArgumentsMismatch, given)[1].outcome is Outcome.SKIPPED


def test_good() -> None:
    config = {
        "train_batch_size": 64,
        "train_micro_batch_size_per_gpu": 2,
        "gradient_accumulation_steps": 8,
        "gradient_clipping": 1,
        "bf16": {"enabled": True},
        "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": [0.9, 0.999]}},
        "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 10}},
    }
    assert lint(ArgumentsMismatch, config, training=TRAINING, num_gpus=4) == []

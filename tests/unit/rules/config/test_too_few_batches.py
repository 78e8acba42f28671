"""C120."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import cured, evidence_of, lint, run

from hotfire.rules.config import TooFewBatches as Rule
from hotfire.rules.evidence import Outcome, Severity

AUTO: dict[str, Any] = {
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "zero_optimization": {"stage": 2},
}
JOB = {"loop": "TRAINER", "per_device_train_batch_size": 4, "gradient_accumulation_steps": 8}


def test_bad() -> None:
    (finding,) = lint(Rule, AUTO, training=JOB, num_gpus=8, num_train_rows=100)
    assert (finding.severity, finding.blocks_start) == (Severity.ERROR, False)
    assert "100 rows" in finding.message
    assert "takes 256" in finding.message
    assert cured(Rule, AUTO, finding.fix, training=JOB, num_gpus=8, num_train_rows=100) == []


def test_bad_not_one_whole_batch() -> None:
    training = JOB | {"dataloader_drop_last": True}
    (finding,) = lint(Rule, AUTO, training=training, num_gpus=8, num_train_rows=20)
    assert "0 steps" in finding.message
    assert finding.fix.patch == []


@pytest.mark.parametrize("argument", [{"num_train_epochs": 0}, {"max_steps": 0}])
def test_bad_no_step_at_all(argument: dict[str, Any]) -> None:
    training = JOB | argument
    (finding,) = lint(Rule, AUTO, training=training)
    assert "no step" in finding.message
    left = cured(Rule, AUTO, finding.fix, training=training, num_gpus=1, num_train_rows=1000)
    assert left == []


def test_good() -> None:
    assert lint(Rule, AUTO, training=JOB, num_gpus=8, num_train_rows=256) == []
    literal = {"train_batch_size": 64, "train_micro_batch_size_per_gpu": 2}
    assert lint(Rule, literal, num_gpus=8, num_train_rows=64) == []


def test_skips_what_it_cannot_count() -> None:
    assert run(Rule, evidence_of(AUTO, training=JOB, num_gpus=8))[1].outcome is Outcome.SKIPPED
    assert run(Rule, evidence_of(AUTO, training=JOB, num_train_rows=8))[1].outcome is Outcome.SKIPPED

"""C119."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import cured, lint

from hotfire.rules.config import AccumulationMismatch as Rule
from hotfire.rules.evidence import Severity


def config(accumulation: Any, **more: Any) -> dict[str, Any]:
    given = {} if accumulation is None else {"gradient_accumulation_steps": accumulation}
    return {"train_micro_batch_size_per_gpu": 2, "zero_optimization": {"stage": 2}, **given, **more}


@pytest.mark.parametrize("loop", ["ACCELERATE", "DEEPSPEED"])
@pytest.mark.parametrize("given", [config(1), config(None), config(2, train_batch_size=16)])
def test_bad(loop: str, given: dict[str, Any]) -> None:
    training = {"loop": loop, "gradient_accumulation_steps": 4}
    (finding,) = lint(Rule, given, training=training, num_gpus=4)
    assert (finding.severity, finding.blocks_start) == (Severity.ERROR, False)
    assert "accumulates 4" in finding.message
    for fix in (finding.fix, *finding.alternatives):
        assert cured(Rule, given, fix, training=training, num_gpus=4) == []


@pytest.mark.parametrize(
    ("given", "training"),
    [
        (config(4), {"loop": "DEEPSPEED", "gradient_accumulation_steps": 4}),
        (config("auto"), {"loop": "ACCELERATE", "gradient_accumulation_steps": 4}),
        (config(None, train_batch_size=32), {"loop": "DEEPSPEED", "gradient_accumulation_steps": 4}),
        (config(1), {"loop": "DEEPSPEED"}),
        # The HF Trainer: a difference is refused (C108), and none is set by itself.
        (config(1), {"loop": "TRAINER", "gradient_accumulation_steps": 4}),
        (config(None), {"loop": "TRAINER", "gradient_accumulation_steps": 4}),
    ],
)
def test_good(given: dict[str, Any], training: dict[str, Any]) -> None:
    assert lint(Rule, given, training=training, num_gpus=4) == []

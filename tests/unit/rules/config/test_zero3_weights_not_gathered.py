"""C114."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, lint

from hotfire.rules.config import Zero3WeightsNotGathered as Rule
from hotfire.rules.evidence import Severity

KEY = "stage3_gather_16bit_weights_on_model_save"


def config(**zero: Any) -> dict[str, Any]:
    return {"bf16": {"enabled": True}, "zero_optimization": {"stage": 3, **zero}}


@pytest.mark.parametrize("zero", [{}, {KEY: False}, {KEY: "auto"}])
def test_bad(zero: dict[str, Any]) -> None:
    (finding,) = lint(Rule, config(**zero))
    assert finding.severity is Severity.WARNING
    assert finding.location.config_path == f"/deepspeed/zero_optimization/{KEY}"
    assert cured(Rule, config(**zero), finding.fix) == []


@pytest.mark.parametrize("argument", ["save_only_model", "push_to_hub"])
def test_bad_where_the_job_asks_for_the_weights(argument: str) -> None:
    training = {"loop": "TRAINER", argument: True}
    (finding,) = lint(Rule, config(), training=training)
    assert (finding.severity, finding.blocks_start) == (Severity.ERROR, False)
    assert argument in finding.message
    assert cured(Rule, config(), finding.fix, training=training) == []


@pytest.mark.parametrize(
    "name", [KEY, "stage3_gather_fp16_weights_on_model_save", "gather_16bit_weights_on_model_save"]
)
def test_good_under_each_of_its_names(name: str) -> None:
    assert lint(Rule, config(**{name: True})) == []


def test_good() -> None:
    assert lint(Rule, HEALTHY) == []
    assert lint(Rule, config(), training={"save_strategy": "no"}) == []
    assert lint(Rule, {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 3}}) == [], (
        "inference"
    )

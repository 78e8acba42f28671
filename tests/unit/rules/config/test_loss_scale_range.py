"""C110."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, lint

from hotfire.rules.config import LossScaleRange
from hotfire.rules.evidence import Severity


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"loss_scale": float("inf")}, "loss_scale"),
        ({"loss_scale": float("nan")}, "loss_scale"),
        ({"loss_scale": -1}, "loss_scale"),
        ({"loss_scale": True}, "loss_scale"),
        ({"loss_scale": "x"}, "loss_scale"),
        ({"loss_scale": 1e13}, "loss_scale"),
        ({"loss_scale_window": 0}, "loss_scale_window"),
        ({"min_loss_scale": 0}, "min_loss_scale"),
        ({"min_loss_scale": True}, "min_loss_scale"),
    ],
)
def test_bad(values: dict[str, Any], key: str) -> None:
    config = {"fp16": {"enabled": True, **values}}
    (finding,) = lint(LossScaleRange, config)
    assert finding.severity is Severity.ERROR
    assert finding.location.config_path == f"/deepspeed/fp16/{key}"
    assert cured(LossScaleRange, config, finding.fix) == []


@pytest.mark.parametrize("values", [{"loss_scale": 1e6}, {"initial_scale_power": 200}])
def test_doubtful_scales_are_warnings(values: dict[str, Any]) -> None:
    (finding,) = lint(LossScaleRange, {"fp16": {"enabled": True, **values}})
    assert finding.severity is Severity.WARNING


def test_unused_values_are_not_judged() -> None:
    assert lint(LossScaleRange, {"fp16": {"enabled": False, "loss_scale_window": 0}}) == []
    assert lint(LossScaleRange, {"fp16": {"enabled": True, "loss_scale": 128, "loss_scale_window": 0}}) == []


def test_auto_fp16_counts_where_the_arguments_turn_it_on() -> None:
    config = {"fp16": {"enabled": "auto", "min_loss_scale": 0}}
    assert lint(LossScaleRange, config) == []
    assert len(lint(LossScaleRange, config, training={"fp16": True})) == 1


def test_good() -> None:
    assert lint(LossScaleRange, HEALTHY) == []
    usual = {
        "enabled": True,
        "loss_scale": 0,
        "loss_scale_window": 1000,
        "initial_scale_power": 16,
        "min_loss_scale": 1,
    }
    assert lint(LossScaleRange, {"fp16": usual}) == []

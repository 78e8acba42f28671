"""C106."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, lint

from hotfire.rules.config import UnresolvedAuto
from hotfire.rules.evidence import Severity

AUTO: dict[str, Any] = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "bf16": {"enabled": "auto"},
    "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto"}},
    "zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"},
}


def test_bad_in_a_plain_loop() -> None:
    training = {"loop": "DEEPSPEED", "bf16": True, "per_device_train_batch_size": 2}
    findings = lint(UnresolvedAuto, AUTO, training=training)
    assert len(findings) == 7
    assert {f.severity for f in findings} == {Severity.ERROR}
    by_path = {f.location.config_path: f for f in findings}
    assert "TypeError" in by_path["/deepspeed/train_micro_batch_size_per_gpu"].message
    assert "fp32" in by_path["/deepspeed/bf16/enabled"].message
    assert by_path["/deepspeed/bf16/enabled"].fix.patch[0].value is True
    assert by_path["/deepspeed/train_micro_batch_size_per_gpu"].fix.patch[0].value == 2
    for finding in findings:
        assert len(cured(UnresolvedAuto, AUTO, finding.fix, training=training)) == 6


def test_without_a_loop_one_warning_says_what_to_pass() -> None:
    (finding,) = lint(UnresolvedAuto, AUTO)
    assert finding.severity is Severity.WARNING
    assert "7 values" in finding.message
    assert "loop" in finding.message


def test_good_with_the_trainer() -> None:
    assert lint(UnresolvedAuto, AUTO, training={"loop": "TRAINER"}) == []
    assert lint(UnresolvedAuto, HEALTHY, training={"loop": "DEEPSPEED"}) == []


def test_accelerate_fills_fewer() -> None:
    findings = lint(UnresolvedAuto, AUTO, training={"loop": "ACCELERATE"})
    assert [f.location.config_path for f in findings] == ["/deepspeed/optimizer/params/betas"]


@pytest.mark.parametrize(
    "config",
    [
        {"bfloat16": {"enabled": "auto"}},
        {"zero_optimization": {"stage": 2, "overlap_comm": "auto"}},
        {"optimizer": {"type": "AdamW", "params": {"momentum": "auto"}}},
    ],
)
def test_bad_key_that_nobody_fills(config: dict[str, Any]) -> None:
    training = {"loop": "TRAINER", "bf16": True}
    (finding,) = lint(UnresolvedAuto, config, training=training)
    assert finding.severity is Severity.ERROR
    assert "ValueError" in finding.message
    assert cured(UnresolvedAuto, config, finding.fix, training=training) == []
    assert "neither" in lint(UnresolvedAuto, config)[0].message


def test_bucket_sizes_need_a_hidden_size() -> None:
    training = {"loop": "TRAINER"}
    assert lint(UnresolvedAuto, AUTO, training=training, model={"hidden_size": 64}) == []
    assert lint(UnresolvedAuto, AUTO, training=training, model={"text_config": {"hidden_size": 64}}) == []
    (finding,) = lint(UnresolvedAuto, AUTO, training=training, model={"d_model": 64})
    assert "hidden_size" in finding.message


def test_deepspeeds_own_auto_is_no_fault() -> None:
    config = {"zero_optimization": {"stage": 2, "zenflow": {"select_strategy": "auto"}}, "_note": "auto"}
    assert lint(UnresolvedAuto, config, training={"loop": "DEEPSPEED"}) == []
    assert lint(UnresolvedAuto, config) == []

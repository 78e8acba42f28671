"""C109."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, lint

from hotfire.rules.config import PrecisionConflict
from hotfire.rules.evidence import Severity

BOTH: dict[str, Any] = {"fp16": {"enabled": True}, "bf16": {"enabled": True}}


def test_bad_both_on() -> None:
    (finding,) = lint(PrecisionConflict, BOTH)
    assert finding.severity is Severity.ERROR
    assert finding.location.config_path == "/deepspeed/fp16/enabled"
    for fix in [finding.fix, *finding.alternatives]:
        assert cured(PrecisionConflict, BOTH, fix) == []


def test_the_gpu_decides_which_one_goes() -> None:
    (finding,) = lint(PrecisionConflict, BOTH, gpu_type="Tesla V100-SXM2-32GB")
    assert finding.location.config_path == "/deepspeed/bf16/enabled"


def test_the_old_name_counts() -> None:
    config = {"fp16": {"enabled": True}, "bfloat16": {"enabled": True}}
    (finding,) = lint(PrecisionConflict, config)
    assert cured(PrecisionConflict, config, finding.fix) == []


def test_auto_takes_the_arguments() -> None:
    config = {"fp16": {"enabled": True}, "bf16": {"enabled": "auto"}}
    training = {"loop": "TRAINER", "bf16": True}
    (finding,) = lint(PrecisionConflict, config, training=training)
    assert cured(PrecisionConflict, config, finding.fix, training=training) == []
    assert lint(PrecisionConflict, config) == []


@pytest.mark.parametrize("gpu", ["V100", "NVIDIA T4", "Tesla P100", "RTX 2080 Ti"])
def test_bad_bf16_on_an_old_gpu(gpu: str) -> None:
    config = {"bf16": {"enabled": True}}
    (finding,) = lint(PrecisionConflict, config, gpu_type=gpu)
    assert gpu in finding.message
    assert cured(PrecisionConflict, config, finding.fix, gpu_type=gpu) == []
    training = {"loop": "TRAINER", "bf16": True}
    auto = {"bf16": {"enabled": "auto"}, "fp16": {"enabled": "auto"}}
    (finding,) = lint(PrecisionConflict, auto, training=training, gpu_type=gpu)
    assert cured(PrecisionConflict, auto, finding.fix, training=training, gpu_type=gpu) == []


@pytest.mark.parametrize("gpu", ["A100-SXM4-80GB", "H100", "L4", "RTX 4090", "A10G", None])
def test_good_bf16_gpus(gpu: str | None) -> None:
    assert lint(PrecisionConflict, {"bf16": {"enabled": True}}, gpu_type=gpu) == []


def test_bad_arguments_both_true() -> None:
    training = {"loop": "TRAINER", "fp16": True, "bf16": True}
    (finding,) = lint(PrecisionConflict, HEALTHY, training=training)
    assert finding.location.config_path == "/training/fp16"
    assert cured(PrecisionConflict, HEALTHY, finding.fix, training=training) == []


def test_bad_arguments_against_the_config() -> None:
    config, training = {"fp16": {"enabled": True}}, {"loop": "ACCELERATE", "bf16": True}
    (finding,) = lint(PrecisionConflict, config, training=training)
    assert "accelerate" in finding.message
    assert cured(PrecisionConflict, config, finding.fix, training=training) == []


def test_bad_amp_with_zero() -> None:
    config = {"amp": {"enabled": True}, "zero_optimization": {"stage": 1}}
    (finding,) = lint(PrecisionConflict, config, version="0.18.0")
    assert "ZeRO" in finding.message
    assert cured(PrecisionConflict, config, finding.fix, version="0.18.0") == []
    assert lint(PrecisionConflict, config) == [], "0.19.8 refuses the key itself: C104"


@pytest.mark.parametrize(
    ("section", "key"),
    [("fp16", "fp16_master_weights_and_grads"), ("bf16", "bf16_master_weights_and_grads")],
)
def test_bad_master_weights_without_zero(section: str, key: str) -> None:
    config = {section: {"enabled": True, key: True}}
    (finding,) = lint(PrecisionConflict, config)
    assert finding.location.config_path == f"/deepspeed/{section}/{key}"
    assert cured(PrecisionConflict, config, finding.fix) == []
    assert lint(PrecisionConflict, {**config, "zero_optimization": {"stage": 1}}) == []


def test_bad_optimizer_states_alone() -> None:
    config = {"bf16": {"enabled": True, "bf16_optimizer_states": True}, "zero_optimization": {"stage": 2}}
    (finding,) = lint(PrecisionConflict, config)
    assert cured(PrecisionConflict, config, finding.fix) == []


def test_bad_parameter_type() -> None:
    config = {"bf16": {"enabled": True}, "data_types": {"param_dtype": "fp32"}}
    (finding,) = lint(PrecisionConflict, config)
    assert cured(PrecisionConflict, config, finding.fix) == []
    assert lint(PrecisionConflict, {"bf16": {"enabled": True}, "data_types": {"param_dtype": "bf16"}}) == []


def test_good() -> None:
    assert lint(PrecisionConflict, HEALTHY) == []
    assert lint(PrecisionConflict, {"fp16": {"enabled": "auto"}, "bf16": {"enabled": "auto"}}) == []

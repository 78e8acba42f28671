"""C103."""

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, lint

from hotfire.rules.config import IgnoredSetting
from hotfire.rules.evidence import Severity


def test_bad_offload_at_the_top_level() -> None:
    config = {"offload_optimizer": {"device": "cpu"}, "zero_optimization": {"stage": 2}}
    (finding,) = lint(IgnoredSetting, config)
    assert finding.severity is Severity.WARNING
    assert finding.location.config_path == "/deepspeed/offload_optimizer"
    assert finding.fix.patch[-1].path == "/deepspeed/zero_optimization/offload_optimizer"
    assert cured(IgnoredSetting, config, finding.fix) == []


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_bad_offload_param_below_stage_3(stage: int) -> None:
    config = {"zero_optimization": {"stage": stage, "offload_param": {"device": "cpu"}}}
    (finding,) = lint(IgnoredSetting, config)
    assert f"stage {stage}" in finding.message
    assert cured(IgnoredSetting, config, finding.fix) == []
    assert cured(IgnoredSetting, config, finding.alternatives[0]) == []


def test_bad_offload_without_zero() -> None:
    config = {"zero_optimization": {"stage": 0, "offload_optimizer": {"device": "cpu"}}}
    (finding,) = lint(IgnoredSetting, config)
    assert "offload_optimizer" in finding.message


def test_bad_section_without_a_stage() -> None:
    config = {"zero_optimization": {"overlap_comm": True, "stage3_max_live_parameters": 1e9}}
    (finding,) = lint(IgnoredSetting, config)
    assert "no stage" in finding.message
    assert cured(IgnoredSetting, config, finding.fix) == []


def test_bad_stage_3_keys_at_stage_2() -> None:
    config = {
        "zero_optimization": {
            "stage": 2,
            "stage3_gather_16bit_weights_on_model_save": True,
            "stage3_prefetch_bucket_size": "auto",
            "stage3_max_live_parameters": 1e9,
        }
    }
    (finding,) = lint(IgnoredSetting, config)
    assert finding.evidence["keys"] == ["stage3_gather_16bit_weights_on_model_save"], (
        "auto and defaults say nothing"
    )
    assert cured(IgnoredSetting, config, finding.fix) == []


def test_bad_old_name_beside_the_new_one() -> None:
    config = {"bf16": {"enabled": True}, "bfloat16": {"enabled": False}}
    (finding,) = lint(IgnoredSetting, config)
    assert cured(IgnoredSetting, config, finding.fix) == []


def test_good() -> None:
    assert lint(IgnoredSetting, HEALTHY) == []
    everything = {"stage": 3, "offload_param": {"device": "cpu"}, "offload_optimizer": {"device": "cpu"}}
    assert lint(IgnoredSetting, {"zero_optimization": everything}) == []
    assert (
        lint(IgnoredSetting, {"zero_optimization": {"stage": 2, "offload_param": {"device": "none"}}}) == []
    )


@pytest.mark.parametrize("name", ["optimizer", "scheduler"])
def test_bad_a_description_without_a_type(name: str) -> None:
    (finding,) = lint(IgnoredSetting, {name: {"params": {"lr": 1e-4}}})
    assert finding.location.config_path == f"/deepspeed/{name}/type"
    assert lint(IgnoredSetting, {name: {}}) == []
    assert lint(IgnoredSetting, {name: {"tpye": "AdamW", "params": {"lr": 1e-4}}}) == []  # C102's


def test_bad_a_section_written_for_stage_3_at_stage_1() -> None:
    names = {"stage3_prefetch_bucket_size": "auto", "stage3_max_live_parameters": 1e9}
    config = {"zero_optimization": {"stage": 1, "sub_group_size": 1e9, **names}}
    (finding,) = lint(IgnoredSetting, config)
    assert finding.evidence["keys"] == list(names)
    assert cured(IgnoredSetting, config, finding.fix) == []
    assert lint(IgnoredSetting, {"zero_optimization": {"stage": 1, "sub_group_size": 1e9}}) == []


def test_stage_0_is_told_once() -> None:
    zero = {"stage": 0, "offload_param": {"device": "cpu"}, "stage3_max_live_parameters": 5}
    (finding,) = lint(IgnoredSetting, {"zero_optimization": zero})
    assert "offload_param" in finding.message
    del zero["offload_param"]
    (finding,) = lint(IgnoredSetting, {"zero_optimization": zero})
    assert finding.evidence["keys"] == ["stage3_max_live_parameters"]

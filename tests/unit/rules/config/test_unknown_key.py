"""C102."""

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, lint

from hotfire.rules.config import UnknownKey
from hotfire.rules.evidence import Severity


def test_bad_section_name_turns_zero_off() -> None:
    text = '{\n  "train_batch_size": 8,\n  "zero_optimisation": {"stage": 2}\n}'
    (finding,) = lint(UnknownKey, text)
    assert finding.severity is Severity.ERROR
    assert finding.location.config_path == "/deepspeed/zero_optimisation"
    assert (finding.location.line, finding.location.column) == (3, 3)
    assert "zero_optimization" in finding.message
    assert [o.op for o in finding.fix.patch] == ["remove", "add"]
    assert cured(UnknownKey, text, finding.fix) == []


def test_bad_key_in_a_strict_section() -> None:
    text = '{"train_batch_size": 8, "zero_optimization": {"stage": 2, "overlap_com": true}}'
    (finding,) = lint(UnknownKey, text)
    assert finding.severity is Severity.ERROR
    assert "overlap_comm" in finding.message
    assert cured(UnknownKey, text, finding.fix) == []


def test_bad_key_of_a_deeper_section() -> None:
    config = {"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu", "pin_memmory": True}}}
    (finding,) = lint(UnknownKey, config)
    assert finding.location.config_path == "/deepspeed/zero_optimization/offload_param/pin_memmory"
    assert cured(UnknownKey, config, finding.fix) == []


@pytest.mark.parametrize(
    ("version", "severity"), [("0.17.0", "WARNING"), ("0.17.1", "ERROR"), (None, "ERROR")]
)
def test_precision_sections_became_strict(version: str | None, severity: str) -> None:
    (finding,) = lint(UnknownKey, {"fp16": {"enabled": True, "opt_level": "O2"}}, version=version)
    assert finding.severity == severity


def test_bad_scheduler_parameter() -> None:
    config = {"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 10, "total_num_steps": 100}}}
    (finding,) = lint(UnknownKey, config)
    assert finding.severity is Severity.ERROR
    assert "TypeError" in finding.message
    assert cured(UnknownKey, config, finding.fix) == []


def test_unknown_top_level_keys_are_warnings() -> None:
    findings = lint(UnknownKey, {"log": {}, "comms_config": {"enabled": True}, "comment": "mine"})
    assert [f.severity for f in findings] == [Severity.WARNING] * 3
    assert all("ignores" in f.message for f in findings)


def test_an_auto_is_dropped_before_its_name_is_looked_at() -> None:
    (finding,) = lint(UnknownKey, {"zero_optimization": {"stage": 2, "stge": "auto"}})
    assert finding.severity is Severity.WARNING


def test_a_misspelling_beside_the_right_name_is_something_else() -> None:
    (finding,) = lint(UnknownKey, {"bf16": {"enabled": True}, "bf_16": {"enabled": False}})
    assert finding.severity is Severity.WARNING


def test_good_and_comments() -> None:
    assert lint(UnknownKey, HEALTHY) == []
    assert lint(UnknownKey, '{"train_batch_size": 8, "_comment": "mine", "optimizer": {"_note": 1}}') == []


def test_a_misspelt_zero_section_is_one_finding_and_blocks_where_the_loader_insists() -> None:
    from hotfire.static import job_evidence, judge_static
    from hotfire.v1 import spec_pb2

    spec = spec_pb2.PreflightSpec()
    spec.deepspeed.config_json = (
        '{"train_micro_batch_size_per_gpu": "auto", "zero_optimisation": {"stage": 2}}'
    )
    (finding,) = [f for f in judge_static(job_evidence(spec)).findings if f.severity == "ERROR"]
    assert (finding.rule, finding.blocks_start) == ("unknown-key", True)
    spec.deepspeed.config_json = '{"train_batch_size": 8, "zero_optimisation": {"stage": 2}}'
    spec.training.loop = spec_pb2.LOOP_DEEPSPEED
    (finding,) = [f for f in judge_static(job_evidence(spec)).findings if f.severity == "ERROR"]
    assert (finding.rule, finding.blocks_start) == ("unknown-key", False)


def test_bad_a_name_that_the_optimizer_does_not_take() -> None:
    config = {"optimizer": {"type": "AdamW", "params": {"lr": 1e-4, "weight_decy": 0.1}}}
    (finding,) = lint(UnknownKey, config)
    assert finding.severity is Severity.WARNING, "DeepSpeedConfig takes the file; the engine fails"
    assert finding.location.config_path == "/deepspeed/optimizer/params/weight_decy"
    assert "TypeError" in finding.message
    assert finding.blocks_start is False
    assert cured(UnknownKey, config, finding.fix) == []
    (certain,) = lint(UnknownKey, config, training={"loop": "TRAINER"})
    assert certain.severity is Severity.ERROR
    assert certain.blocks_start is True


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("AdamW", {"lr": 1e-4, "betas": [0.9, 0.99], "eps": 1e-8, "torch_adam": True, "adam_w_mode": True}),
        ("Adam", {"lr": 1e-4, "bias_correction": True, "fp32_optimizer_states": False}),
        ("Lamb", {"lr": 1e-4, "max_coeff": 0.3, "min_coeff": 0.01}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        ("Muon", {"lr": 0.1, "momentum": 0.9, "what_it_ignores": 1}),
        ("Adafactor", {"lr": 0.1, "of_torch": 1}),
        ("AdamW", {"lr": 1e-4, "max_grad_norm": 1.0}),  # C118's
    ],
)
def test_good_parameters_of_optimizers(kind: str, params: dict) -> None:
    assert lint(UnknownKey, {"optimizer": {"type": kind, "params": params}}) == []


def test_bad_key_of_data_efficiency() -> None:
    routing = {"enabled": True, "random_ltd": {"enabled": True, "totl_layer_num": 12}}
    (finding,) = lint(UnknownKey, {"data_efficiency": {"enabled": True, "data_routing": routing}})
    assert "total_layer_num" in finding.message
    assert finding.severity is Severity.WARNING

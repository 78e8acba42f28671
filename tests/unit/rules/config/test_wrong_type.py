"""C105."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, lint

from hotfire.rules.config import WrongType
from hotfire.rules.evidence import Severity

ZERO = "zero_optimization"


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ({"gradient_accumulation_steps": "8"}, "gradient_accumulation_steps"),
        ({"gradient_clipping": "1.0"}, "gradient_clipping"),
        ({"optimizer": {"type": "AdamW", "params": {"lr": "1e-5"}}}, "optimizer/params/lr"),
        ({"optimizer": {"type": "AdamW", "params": {"betas": ["0.9", "0.95"]}}}, "optimizer/params/betas"),
        ({"fp16": {"enabled": True, "min_loss_scale": 0.5}}, "fp16/min_loss_scale"),
        ({"fp16": True}, "fp16"),
        ({"fp16": None}, "fp16"),
        ({ZERO: {"stage": 4}}, f"{ZERO}/stage"),
        ({ZERO: {"stage": 2, "reduce_bucket_size": "5e8"}}, f"{ZERO}/reduce_bucket_size"),
        ({ZERO: {"stage": 2, "reduce_bucket_size": 0}}, f"{ZERO}/reduce_bucket_size"),
        ({ZERO: {"stage": 2, "allgather_bucket_size": 1.5}}, f"{ZERO}/allgather_bucket_size"),
        ({ZERO: {"stage": 2, "overlap_comm": "maybe"}}, f"{ZERO}/overlap_comm"),
        ({ZERO: {"stage": 2, "offload_optimizer": {"device": "gpu"}}}, f"{ZERO}/offload_optimizer/device"),
        ({ZERO: {"stage": 2, "offload_optimizer": {"device": "CPU"}}}, f"{ZERO}/offload_optimizer/device"),
        ({"communication_data_type": "int8"}, "communication_data_type"),
        (
            {"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 0}}},
            "scheduler/params/warmup_num_steps",
        ),
        (
            {ZERO: {"stage": 2, "offload_optimizer": {"device": "cpu", "ratio": 0.5}}},
            f"{ZERO}/offload_optimizer/ratio",
        ),
        (
            {ZERO: {"stage": 2, "cpu_offload": True, "offload_optimizer": {"device": "cpu"}}},
            f"{ZERO}/cpu_offload",
        ),
        ({"gradient_allreduce_op": "sum", ZERO: {"stage": 3}}, "gradient_allreduce_op"),
    ],
)
def test_bad_is_refused(config: dict[str, Any], pointer: str) -> None:
    (finding,) = lint(WrongType, config)
    assert finding.severity is Severity.ERROR
    assert finding.location.config_path == f"/deepspeed/{pointer}"
    assert finding.location.line is not None
    assert cured(WrongType, config, finding.fix) == []


@pytest.mark.parametrize(
    ("config", "taken"),
    [
        ({ZERO: {"stage": "2"}}, "2"),
        ({ZERO: {"stage": 2, "reduce_bucket_size": "500"}}, "500"),
        ({ZERO: {"stage": 2, "overlap_comm": "false"}}, "false"),
        ({"prescale_gradients": "false"}, "counts as true"),
        ({"bf16": {"enabled": "True"}}, "true"),
    ],
)
def test_bad_is_coerced(config: dict[str, Any], taken: str) -> None:
    (finding,) = lint(WrongType, config)
    assert finding.severity is Severity.WARNING
    assert taken in finding.message
    assert cured(WrongType, config, finding.fix) == []


def test_what_was_meant_is_proposed() -> None:
    (finding,) = lint(WrongType, {ZERO: {"stage": 2, "reduce_bucket_size": "5e8"}})
    assert finding.fix.patch[0].value == 500_000_000
    (finding,) = lint(WrongType, {"optimizer": {"type": "AdamW", "params": {"lr": "1e-5"}}})
    assert finding.fix.patch[0].value == 1e-5


def test_versions_before_the_check_accept_it() -> None:
    (finding,) = lint(WrongType, {"fp16": {"enabled": True, "min_loss_scale": 0.5}}, version="0.17.0")
    assert finding.severity is Severity.WARNING
    assert lint(WrongType, {ZERO: {"stage": 3, "reduce_bucket_size": 0}}, version="0.18.0") == []


def test_good() -> None:
    assert lint(WrongType, HEALTHY) == []
    assert lint(WrongType, {ZERO: {"stage": 3, "sub_group_size": 1e14, "overlap_comm": None}}) == []
    assert lint(WrongType, {ZERO: True, "bf16": None}) == []


def test_bad_training_arguments_are_all_named() -> None:
    from hotfire.static import job_evidence, judge_static
    from hotfire.v1 import spec_pb2

    spec = spec_pb2.PreflightSpec()
    spec.deepspeed.config_json = HEALTHY
    spec.training.learning_rate = -1e-4
    spec.training.max_length = 0
    spec.training.adam_beta2 = float("nan")
    spec.training.padding_side = "middle"
    spec.training.weight_decay = 0.0
    found = [f for f in judge_static(job_evidence(spec)).findings if f.rule == "wrong-type"]
    assert {f.location.config_path.removeprefix("/training/") for f in found} == {
        "learning_rate",
        "max_length",
        "adam_beta2",
        "padding_side",
    }
    assert all(f.blocks_start for f in found)


def test_bad_optimizer_that_nobody_has() -> None:
    text = '{"train_batch_size": 8, "optimizer": {"type": "AdmaW", "params": {"lr": 1e-4}}}'
    (finding,) = lint(WrongType, text)
    assert finding.location.config_path == "/deepspeed/optimizer/type"
    assert [(o.path, o.value) for o in finding.fix.patch] == [("/deepspeed/optimizer/type", "AdamW")]


@pytest.mark.parametrize("name", ["AdamW", "adamw", "SGD", "Lion", "RAdam"])
def test_good_optimizers(name: str) -> None:
    assert lint(WrongType, '{"train_batch_size": 8, "optimizer": {"type": "%s"}}' % name) == []  # noqa: UP031


@pytest.mark.parametrize(
    ("version", "loop", "severity"), [("0.19.8", None, "WARNING"), ("0.19.8", "DEEPSPEED", "ERROR")]
)
def test_bad_one_bit_optimizers_are_gone(version: str, loop: str | None, severity: str) -> None:
    config = {"optimizer": {"type": "ZeroOneAdam", "params": {"lr": 1e-4}}}
    training = {"loop": loop} if loop else {}
    (finding,) = lint(WrongType, config, version=version, training=training)
    assert finding.severity == severity
    assert cured(WrongType, config, finding.fix, version=version, training=training) == []
    assert lint(WrongType, config, version="0.19.6", training=training) == []


def test_a_loss_scale_as_text_is_taken_as_a_number() -> None:
    (finding,) = lint(WrongType, {"fp16": {"enabled": True, "loss_scale": "0"}})
    assert finding.severity is Severity.WARNING
    assert finding.fix.patch[0].value == 0
    assert lint(WrongType, {"fp16": {"enabled": True, "loss_scale": "fast"}}) == []  # C110's


@pytest.mark.parametrize(("enabled", "severity"), [(True, Severity.ERROR), (False, Severity.WARNING)])
def test_a_number_as_text_breaks_the_profiler_only_where_it_is_on(enabled: bool, severity: Severity) -> None:
    config = {"flops_profiler": {"enabled": enabled, "profile_step": "5"}}
    assert [f.severity for f in lint(WrongType, config)] == [severity]


@pytest.mark.parametrize("off", ["data_efficiency", "data_routing", "random_ltd", None])
def test_random_ltd_breaks_only_where_all_above_it_is_on(off: str | None) -> None:
    config = {
        "data_efficiency": {
            "enabled": off != "data_efficiency",
            "data_routing": {
                "enabled": off != "data_routing",
                "random_ltd": {"enabled": off != "random_ltd", "total_layer_num": "12"},
            },
        }
    }
    (finding,) = lint(WrongType, config)
    assert finding.severity is (Severity.ERROR if off is None else Severity.WARNING)


def test_sequence_parallel_size_is_divided_by() -> None:
    (finding,) = lint(WrongType, {"sequence_parallel_size": "2"})
    assert finding.severity is Severity.ERROR


def test_text_in_a_parameter_of_an_optimizer_that_nothing_checks() -> None:
    config = {"optimizer": {"type": "Lamb", "params": {"lr": 1e-4, "max_coeff": "0.3"}}}
    (finding,) = lint(WrongType, config)
    assert finding.severity is Severity.WARNING
    assert cured(WrongType, config, finding.fix) == []

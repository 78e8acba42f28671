"""C107. The first cases are DeepSpeed's own (tests/unit/runtime/test_ds_config_dict.py), on 2 ranks."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, evidence_of, lint, run

from hotfire.rules.config import BatchArithmetic
from hotfire.rules.evidence import Outcome, Severity

KEYS = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")


def triple(*values: Any) -> dict[str, Any]:
    return {key: value for key, value in zip(KEYS, values, strict=True) if value is not None}


@pytest.mark.parametrize(
    ("values", "fine"),
    [
        ((32, 16, 1), True),
        ((32, 8, 2), True),
        ((33, 17, 2), False),
        ((32, 18, 1), False),
        ((32, None, None), True),
        ((None, 4, None), True),
        ((None, 4, 8), True),
        ((32, 16, None), True),
        ((32, None, 4), True),
        ((33, None, None), False),
        ((1, None, None), False),
        ((2, 4, None), False),
        ((6, None, 4), False),
    ],
)
def test_deepspeeds_own_cases(values: tuple[int | None, ...], fine: bool) -> None:
    config = triple(*values)
    findings = lint(BatchArithmetic, config, num_gpus=2)
    assert (findings == []) is fine
    for finding in findings:
        assert finding.severity is Severity.ERROR
        for fix in [finding.fix, *finding.alternatives]:
            assert cured(BatchArithmetic, config, fix, num_gpus=2) == [], fix.description


def test_bad_on_the_target_cluster_only() -> None:
    config = triple(32, 4, 2)
    assert lint(BatchArithmetic, config, num_gpus=4) == []
    (finding,) = lint(BatchArithmetic, config, num_gpus=8)
    assert "8 GPUs = 64" in finding.message
    assert finding.fix.patch[0].value == 64
    assert [f.description for f in finding.alternatives] == [
        "Keep train_batch_size 32: set gradient_accumulation_steps to 1.",
        "Keep train_batch_size 32: set train_micro_batch_size_per_gpu to 2.",
    ]


def test_data_parallel_size_wins_and_other_parallelism_divides() -> None:
    config = triple(32, 4, 2)
    assert lint(BatchArithmetic, config, num_gpus=8, data_parallel_size=4) == []
    assert lint(BatchArithmetic, {**config, "sequence_parallel_size": 2}, num_gpus=8) == []
    assert lint(BatchArithmetic, {**config, "tensor_parallel": {"autotp_size": 2}}, num_gpus=8) == []


def test_without_a_cluster_only_the_triple_itself() -> None:
    assert lint(BatchArithmetic, triple(32, 4, 2)) == []
    config = triple(30, 4, 2)
    (finding,) = lint(BatchArithmetic, config)
    assert "any number of GPUs" in finding.message
    assert cured(BatchArithmetic, config, finding.fix) == []


@pytest.mark.parametrize("values", [(0, None, None), (None, 0, None), (None, -1, 2), (None, 4, 0)])
def test_bad_zero(values: tuple[int | None, ...]) -> None:
    config = triple(*values)
    (finding,) = lint(BatchArithmetic, config)
    assert "greater than 0" in finding.message
    if values[0] is None:
        assert cured(BatchArithmetic, config, finding.fix) == []


@pytest.mark.parametrize(
    ("loop", "severity"), [(None, "WARNING"), ("TRAINER", "ERROR"), ("DEEPSPEED", "ERROR")]
)
def test_nothing_given(loop: str | None, severity: str) -> None:
    config = triple(None, None, 4)
    training = {"loop": loop, "gradient_accumulation_steps": 4} if loop else {}
    (finding,) = lint(BatchArithmetic, config, training=training)
    assert finding.severity == severity
    assert cured(BatchArithmetic, config, finding.fix, training=training) == []


def test_auto_takes_the_arguments() -> None:
    config = triple(64, "auto", "auto")
    training = {"loop": "TRAINER", "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    assert lint(BatchArithmetic, config, training=training, num_gpus=8) == []
    (finding,) = lint(BatchArithmetic, config, training=training, num_gpus=4)
    assert "= 32" in finding.message
    for fix in [finding.fix, *finding.alternatives]:
        assert cured(BatchArithmetic, config, fix, training=training, num_gpus=4) == []
    assert lint(BatchArithmetic, config, num_gpus=4) == [], "nobody said who fills auto"


def test_accelerate_adds_an_accumulation_of_one() -> None:
    """DeepSpeed alone would work out 4; accelerate writes 1 first."""
    config = triple(32, 4, None)
    assert lint(BatchArithmetic, config, training={"loop": "DEEPSPEED"}, num_gpus=2) == []
    assert len(lint(BatchArithmetic, config, training={"loop": "TRAINER"}, num_gpus=2)) == 1


def test_skips_what_is_no_number() -> None:
    _, check = run(BatchArithmetic, evidence_of(triple("32", 4, 2)))
    assert check.outcome is Outcome.SKIPPED


def test_good() -> None:
    assert lint(BatchArithmetic, HEALTHY, num_gpus=8) == []

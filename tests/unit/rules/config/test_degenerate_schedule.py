"""C113."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, evidence_of, lint, run

from hotfire.rules.config import DegenerateSchedule as Rule
from hotfire.rules.evidence import Outcome, Severity

OWN = {"loop": "DEEPSPEED", "max_steps": 1000}
TRAINER = {"loop": "TRAINER", "max_steps": 1000, "learning_rate": 2e-4}


def config(kind: str, **params: Any) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": 1,
        "optimizer": {"type": "AdamW", "params": {"lr": 2e-4}},
        "scheduler": {"type": kind, "params": params},
    }


BAD: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    (
        config("WarmupLR", warmup_max_lr=2e-4, warmup_num_steps=100_000, warmup_type="linear"),
        OWN,
        "never reaches",
        "ERROR",
    ),
    (config("WarmupLR", warmup_max_lr=2e-4), OWN | {"max_steps": 200}, "never reaches", "WARNING"),
    (
        config("WarmupLR", warmup_max_lr=0, warmup_num_steps=10),
        OWN | {"learning_rate": 1e-4},
        "0 at every step",
        "ERROR",
    ),
    (
        config("WarmupLR", warmup_max_lr=2e-4, warmup_num_steps=10),
        OWN | {"max_steps": 2},
        "0 at every step",
        "ERROR",
    ),
    (
        config("WarmupDecayLR", warmup_max_lr=2e-4, warmup_num_steps=10, total_num_steps=100),
        OWN,
        "0 for the last 899 of 1000 steps",
        "ERROR",
    ),
    (
        config("WarmupDecayLR", warmup_max_lr=2e-4, warmup_num_steps=10, total_num_steps=10_000),
        OWN,
        "made for 10000 steps and the job has 1000",
        "WARNING",
    ),
    (
        config("OneCycle", cycle_min_lr=1e-5, cycle_max_lr=1e-3, cycle_first_step_size=5000),
        OWN,
        "never reaches",
        "ERROR",
    ),
    ({}, TRAINER | {"warmup_steps": 5000}, "never reaches", "ERROR"),
    ({}, TRAINER | {"learning_rate": 0.0}, "0 at every step", "ERROR"),
    (
        {},
        TRAINER | {"lr_scheduler_type": "polynomial", "warmup_steps": 1000},
        "divides by zero after step 1000",
        "ERROR",
    ),
    (
        {},
        TRAINER
        | {
            "lr_scheduler_type": "warmup_stable_decay",
            "lr_scheduler_kwargs": {"num_decay_steps": 10, "num_stable_steps": 10},
        },
        "0 for the last 980 of 1000 steps",
        "ERROR",
    ),
]


@pytest.mark.parametrize(("given", "training", "message", "severity"), BAD)
def test_bad_curve(given: dict[str, Any], training: dict[str, Any], message: str, severity: str) -> None:
    (finding,) = lint(Rule, given, training=training)
    assert message in finding.message
    assert (finding.severity, finding.blocks_start) == (severity, False)
    if finding.fix.patch:
        assert cured(Rule, given, finding.fix, training=training) == []


def test_a_bare_file_is_only_warned_about() -> None:
    given = config("WarmupLR", warmup_max_lr=2e-4, warmup_num_steps=100_000, warmup_type="linear")
    (finding,) = lint(Rule, given, training={"max_steps": 1000})
    assert finding.severity is Severity.WARNING
    assert "the loop is not given" in finding.message


@pytest.mark.parametrize("version", ["0.19.0", "0.19.2", "0.19.3", "0.19.8"])
def test_bad_cosine_of_nothing_but_warmup(version: str) -> None:
    """Up to 0.19.2 a division by zero right after the warm-up; after that, the rest at the floor."""
    given = config("WarmupCosineLR", warmup_num_steps=100, total_num_steps=100)
    (finding,) = lint(Rule, given, training=OWN, version=version)
    assert finding.severity is Severity.ERROR
    if version >= "0.19.3":
        assert "2e-08 for the last 899 of 1000 steps" in finding.message
        return
    assert "divides by zero after step 101" in finding.message
    assert finding.evidence["fails_after_step"] == 101
    left = cured(Rule, given, finding.fix, training=OWN | {"max_steps": 100}, version=version)
    assert left == []


def test_bad_without_the_length_of_the_job() -> None:
    given = config("WarmupDecayLR", warmup_max_lr=1e-4, warmup_num_steps=500, total_num_steps=100)
    (finding,) = lint(Rule, given, training={"loop": "DEEPSPEED"})
    assert "500 steps of a schedule made for 100" in finding.message
    assert cured(Rule, given, finding.fix, training={"loop": "DEEPSPEED"}) == []


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (config("WarmupDecayLR", warmup_num_steps=10), OWN, "cannot be made without total_num_steps"),
    (config("WarmupCosineLR"), OWN, "cannot be made without total_num_steps"),
    (config("OneCycle", cycle_min_lr=1e-5), OWN, "cannot be made without cycle_max_lr"),
    (
        config("OneCycle", cycle_min_lr=1e-5, cycle_max_lr=1e-3, cycle_first_step_size=0),
        OWN,
        "must be above 0",
    ),
    (config("WarmupDecay"), OWN, "neither DeepSpeed nor torch"),
    ({}, TRAINER | {"lr_scheduler_type": "cosin"}, "no such scheduler"),
    ({}, TRAINER | {"lr_scheduler_type": "cosine_with_min_lr"}, "exactly one of min_lr"),
    ({}, TRAINER | {"lr_scheduler_type": "polynomial", "learning_rate": 1e-8}, "lr_end"),
    ({}, TRAINER | {"lr_scheduler_type": "warmup_stable_decay"}, "num_decay_steps"),
    ({}, TRAINER | {"lr_scheduler_type": "reduce_lr_on_plateau"}, "eval_strategy is no"),
    ({}, TRAINER | {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"cycles": 2}}, "takes no cycles"),
]


@pytest.mark.parametrize(("given", "training", "message"), REFUSED)
def test_bad_refused(given: dict[str, Any], training: dict[str, Any], message: str) -> None:
    (finding,) = lint(Rule, given, training=training)
    assert message in finding.message
    assert (finding.severity, finding.blocks_start) == (Severity.ERROR, True)


def test_the_nearest_name() -> None:
    (finding,) = lint(Rule, {}, training=TRAINER | {"lr_scheduler_type": "cosin"})
    assert finding.fix.patch[0].value == "cosine"


@pytest.mark.parametrize(("version", "severity"), [("0.19.8", "WARNING"), ("0.19.3", "ERROR")])
def test_bad_misspelt_warmup_type(version: str, severity: str) -> None:
    given = config("WarmupCosineLR", warmup_num_steps=10, total_num_steps=1000, warmup_type="Linear")
    (finding,) = lint(Rule, given, training=OWN, version=version)
    assert finding.severity == severity
    assert finding.fix.patch[0].value == "linear"
    assert cured(Rule, given, finding.fix, training=OWN, version=version) == []


@pytest.mark.parametrize(
    ("given", "training"),
    [
        (HEALTHY, {}),
        ({}, {}),
        (config("WarmupLR", warmup_max_lr=2e-4, warmup_num_steps=100), OWN),
        (config("WarmupDecayLR", warmup_max_lr=2e-4, warmup_num_steps=100, total_num_steps=1000), OWN),
        (
            config("WarmupDecayLR", warmup_max_lr="auto", warmup_num_steps="auto", total_num_steps="auto"),
            TRAINER,
        ),
        (config("WarmupCosineLR", warmup_num_steps=10, total_num_steps=1000), OWN),
        (config("OneCycle", cycle_min_lr=1e-5, cycle_max_lr=1e-3, cycle_first_step_size=300), OWN),
        (config("LRRangeTest", lr_range_test_step_size=100), OWN),
        ({}, TRAINER | {"warmup_ratio": 0.03, "lr_scheduler_type": "cosine"}),
        ({}, TRAINER | {"max_steps": 1}),
        ({}, TRAINER | {"max_steps": 3, "warmup_steps": 1}),
        ({}, {"loop": "DEEPSPEED"}),
    ],
)
def test_good(given: Any, training: dict[str, Any]) -> None:
    assert lint(Rule, given, training=training) == []


def test_skips_a_curve_that_it_does_not_know() -> None:
    given = config("CosineAnnealingLR", T_max=100)
    assert run(Rule, evidence_of(given, training=OWN))[1].outcome is Outcome.SKIPPED

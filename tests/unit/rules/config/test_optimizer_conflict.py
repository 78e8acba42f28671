"""C112."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, lint

from hotfire.rules.config import OptimizerConflict as Rule
from hotfire.rules.evidence import Severity

LOOPS = ("TRAINER", "ACCELERATE", "DEEPSPEED")
OFFLOAD = {"stage": 2, "offload_optimizer": {"device": "cpu"}}


def config(kind: str | None = None, *, stage: int = 2, **more: Any) -> dict[str, Any]:
    optimizer = {} if kind is None else {"optimizer": {"type": kind, "params": {"lr": 1e-4}}}
    return {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": stage}, **optimizer, **more}


@pytest.mark.parametrize("loop", [None, *LOOPS])
def test_bad_untested(loop: str | None) -> None:
    training = {"loop": loop} if loop else {}
    (finding,) = lint(Rule, config("SGD"), training=training)
    # A bare file: DeepSpeedConfig accepts it, and the code may hand an optimizer over.
    assert finding.severity is (Severity.ERROR if loop else Severity.WARNING)
    assert finding.blocks_start is bool(loop)
    assert finding.location.config_path == "/deepspeed/optimizer/type"
    for fix in (finding.fix, *finding.alternatives):
        assert cured(Rule, config("SGD"), fix, training=training) == []


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "adamw", "Adagrad", "Lion", "Muon"])
def test_good_tested(kind: str) -> None:
    assert lint(Rule, config(kind), training={"loop": "DEEPSPEED"}) == []


def test_good_untested_without_zero_or_allowed() -> None:
    assert lint(Rule, config("SGD", stage=0), training={"loop": "DEEPSPEED"}) == []
    assert lint(Rule, config("SGD", zero_allow_untested_optimizer=True), training={"loop": "DEEPSPEED"}) == []


@pytest.mark.parametrize(
    ("kind", "scale", "count"), [("Lamb", 128, 1), ("OneBitLamb", 1, 1), ("Lamb", 0, 0), ("Adam", 128, 0)]
)
def test_static_scale(kind: str, scale: int, count: int) -> None:
    given = config(kind, stage=0, fp16={"enabled": True, "loss_scale": scale})
    found = lint(Rule, given, training={"loop": "DEEPSPEED"}, version="0.18.2")
    assert len(found) == count
    for finding in found:
        assert finding.blocks_start
        assert cured(Rule, given, finding.fix, training={"loop": "DEEPSPEED"}) == []


@pytest.mark.parametrize(("loop", "severity"), [("ACCELERATE", "ERROR"), ("DEEPSPEED", "WARNING")])
def test_bad_given_twice(loop: str, severity: str) -> None:
    training = {"loop": loop, "optimizer_source": "CLIENT"}
    (finding,) = lint(Rule, config("AdamW"), training=training)
    assert finding.severity == severity
    assert finding.location.config_path == "/deepspeed/optimizer"
    for fix in (finding.fix, *finding.alternatives):
        assert cured(Rule, config("AdamW"), fix, training=training) == []


def test_bad_client_optimizer_with_offload() -> None:
    given = {"zero_optimization": OFFLOAD}
    (finding,) = lint(Rule, given, training={"loop": "DEEPSPEED"})
    assert (finding.severity, finding.blocks_start) == (Severity.ERROR, True)
    for fix in (finding.fix, *finding.alternatives):
        assert cured(Rule, given, fix, training={"loop": "DEEPSPEED"}) == []
    assert lint(Rule, given) == [], "made for the HF Trainer, most likely"
    assert lint(Rule, given, training={"loop": "TRAINER"}) == [], "accelerate makes it a CPUAdam"
    assert lint(Rule, {**given, "zero_force_ds_cpu_optimizer": False}, training={"loop": "DEEPSPEED"}) == []


def test_bad_offload_swaps_the_optimizer() -> None:
    given, training = {"zero_optimization": OFFLOAD}, {"loop": "TRAINER", "optim": "adafactor"}
    (finding,) = lint(Rule, given, training=training)
    assert finding.severity is Severity.WARNING
    assert cured(Rule, given, finding.fix, training=training) == []
    assert lint(Rule, given, training={"loop": "TRAINER", "optim": "paged_adamw_32bit"}) == []


def test_bad_the_trainer_prefers_the_config() -> None:
    training = {"loop": "TRAINER", "optim": "adafactor", "lr_scheduler_type": "cosine"}
    given = config("AdamW", scheduler={"type": "WarmupLR", "params": {}})
    found = lint(Rule, given, training=training)
    assert [f.location.config_path for f in found] == ["/deepspeed/optimizer", "/deepspeed/scheduler"]
    assert {f.severity for f in found} == {Severity.WARNING}
    for finding in found:
        left = [f.message for f in cured(Rule, given, finding.fix, training=training)]
        assert finding.message not in left


@pytest.mark.parametrize(
    ("optim", "schedule", "kind"),
    [
        ("adamw_torch_fused", "linear", "WarmupDecayLR"),
        ("adamw_torch", "SchedulerType.COSINE", "WarmupCosineLR"),
        (None, None, "WarmupLR"),
    ],
)
def test_good_both_say_the_same(optim: str | None, schedule: str | None, kind: str) -> None:
    training = {"loop": "TRAINER", "optim": optim, "lr_scheduler_type": schedule}
    given = config("AdamW", scheduler={"type": kind, "params": {}})
    assert lint(Rule, given, training={k: v for k, v in training.items() if v is not None}) == []


def test_good() -> None:
    for loop in LOOPS:
        assert lint(Rule, HEALTHY, training={"loop": loop}) == []

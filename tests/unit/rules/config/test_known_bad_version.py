"""C115."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, evidence_of, lint, run

from hotfire.rules.config import KnownBadVersion as Rule
from hotfire.rules.evidence import Environment, Evidence, Outcome, Severity

PLAIN: dict[str, Any] = {
    "train_micro_batch_size_per_gpu": 2,
    "gradient_accumulation_steps": 2,
    "bf16": {"enabled": True},
    "zero_optimization": {"stage": 2},
}
OVERLAP = PLAIN | {"gradient_accumulation_steps": 1, "zero_optimization": {"stage": 2, "overlap_comm": True}}


def offering(config: dict[str, Any], version: str | None, *offered: str) -> Evidence:
    """On a worker whose own DeepSpeed is the first of `offered`."""
    evidence = evidence_of(config, version=version)
    evidence.environment = Environment(
        versions={"deepspeed": offered[0], "torch": "2.13.0"}, offered={"deepspeed": list(offered)}
    )
    return evidence


@pytest.mark.parametrize("version", ["0.17.6", "0.18.2"])
def test_bad_zero_2_keeps_the_last_micro_batch_only(version: str) -> None:
    assert [f.severity for f in lint(Rule, PLAIN, version=version)] == [Severity.WARNING]  # a bare file
    (finding,) = lint(Rule, PLAIN, version=version, training={"loop": "TRAINER"})
    assert finding.severity is Severity.ERROR
    assert finding.blocks_start is False
    assert finding.location.config_path == "/deepspeed/zero_optimization/stage"
    assert finding.message.startswith(f"DeepSpeed {version} keeps the gradient of the last micro-batch only")
    assert [(o.op, o.path, o.value) for o in finding.fix.patch] == [
        ("replace", "/cluster/versions/deepspeed", "0.18.4")
    ]
    assert finding.alternatives == []  # no key cures it
    assert cured(Rule, PLAIN, finding.fix, version=version) == []


def test_bad_a_race_is_a_warning_and_has_a_workaround() -> None:
    (finding,) = lint(Rule, OVERLAP, version="0.17.1", num_gpus=8)
    assert finding.severity is Severity.WARNING
    assert [f["id"] for f in finding.evidence["faults"]] == [
        "double-buffer-swap",
        "overlap-buffer-freed-early",
    ]
    assert finding.fix.patch[0].value == "0.19.0"
    assert cured(Rule, OVERLAP, finding.fix, version="0.17.1") == []
    (workaround,) = finding.alternatives
    assert cured(Rule, OVERLAP, workaround, version="0.17.1") == []


def test_bad_without_a_good_release_the_key_is_the_fix() -> None:
    config = {"train_batch_size": 8, "fp16": {"enabled": True}, "zero_optimization": {"stage": 0}}
    (finding,) = lint(Rule, config, version="0.19.8", training={"loop": "DEEPSPEED"})
    assert finding.severity is Severity.ERROR
    assert cured(Rule, config, finding.fix, version="0.19.8") == []


def test_the_upgrade_is_one_that_this_worker_can_run() -> None:
    (finding,), _ = run(Rule, offering(PLAIN, "0.17.6", "0.19.8", "0.18.2", "0.17.6"))
    assert finding.fix.patch[0].value == "0.19.8"
    # A worker that has none proposes the first good one all the same.
    (finding,), _ = run(Rule, offering(PLAIN, "0.17.6", "0.18.2", "0.17.6"))
    assert finding.fix.patch[0].value == "0.18.3"


def test_the_workers_version_is_asked_about_where_the_target_names_none() -> None:
    (finding,), _ = run(Rule, offering(PLAIN, None, "0.18.2"))
    assert [(o.op, o.path) for o in finding.fix.patch] == [("add", "/cluster/versions/deepspeed")]
    assert run(Rule, offering(PLAIN, "0.19.8", "0.18.2"))[0] == []


def test_skips_without_a_version() -> None:
    assert run(Rule, evidence_of(PLAIN))[1].outcome is Outcome.SKIPPED


@pytest.mark.parametrize(
    ("config", "version"),
    [
        (HEALTHY, "0.19.8"),
        (PLAIN, "0.17.5"),
        (PLAIN, "0.19.8"),
        (PLAIN | {"gradient_accumulation_steps": 1}, "0.18.2"),
        (PLAIN | {"zero_optimization": {"stage": 1}}, "0.18.2"),
        (PLAIN | {"zero_optimization": {"stage": 3}}, "0.18.2"),
    ],
)
def test_good(config: str | dict[str, Any], version: str) -> None:
    assert lint(Rule, config, version=version) == []

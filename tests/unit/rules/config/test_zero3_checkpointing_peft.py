"""C116."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, evidence_of, lint, run

from hotfire.rules.config import Zero3CheckpointingPeft as Rule
from hotfire.rules.evidence import Environment, Severity

CONFIG: dict[str, Any] = {"zero_optimization": {"stage": 3}}
JOB: dict[str, Any] = {"loop": "TRAINER", "peft": {"r": 8}, "gradient_checkpointing": True}
REENTRANT = {"gradient_checkpointing_kwargs": {"use_reentrant": True}}


@pytest.mark.parametrize("training", [JOB, JOB | {"gradient_checkpointing_kwargs": {"use_reentrant": False}}])
def test_bad(training: dict[str, Any]) -> None:
    (finding,) = lint(Rule, CONFIG, training=training, version="0.18.2")
    assert finding.severity is Severity.WARNING
    assert "DeepSpeed 0.18.2" in finding.message
    assert finding.alternatives[0].patch[0].value == "0.19.3"
    for fix in (finding.fix, *finding.alternatives):
        assert cured(Rule, CONFIG, fix, training=training, version="0.18.2") == []


def test_bad_frozen_without_peft() -> None:
    training = {"gradient_checkpointing": True, "frozen": ["model.embed_tokens"]}
    assert len(lint(Rule, CONFIG, training=training, version="0.19.2")) == 1


def test_without_a_version_it_says_what_to_give() -> None:
    (finding,) = lint(Rule, CONFIG, training=JOB)
    assert "cluster.versions.deepspeed" in finding.message


def test_good_the_workers_version_counts_where_none_is_named() -> None:
    evidence = evidence_of(CONFIG, training=JOB)
    evidence.environment = Environment(versions={"deepspeed": "0.19.8", "transformers": "5.23.0"})
    assert run(Rule, evidence)[0] == []


@pytest.mark.parametrize(
    ("config", "training", "version"),
    [
        (HEALTHY, JOB, "0.18.2"),
        (CONFIG, JOB, "0.19.3"),
        (CONFIG, JOB | REENTRANT, "0.18.2"),
        (CONFIG, {"gradient_checkpointing": True}, "0.18.2"),
        (CONFIG, {"peft": {"r": 8}}, "0.18.2"),
    ],
)
def test_good(config: Any, training: dict[str, Any], version: str) -> None:
    assert lint(Rule, config, training=training, version=version) == []


def test_good_transformers_4_checkpoints_reentrantly() -> None:
    evidence = evidence_of(CONFIG, training=JOB, version="0.18.2")
    assert len(run(Rule, evidence)[0]) == 1
    evidence.cluster.versions["transformers"] = "4.57.1"
    assert run(Rule, evidence)[0] == []

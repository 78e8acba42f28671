"""C122."""

from typing import Any

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, lint

from hotfire.rules.config import LauncherConflict as Rule
from hotfire.rules.evidence import Severity

STAGE3: dict[str, Any] = {"zero_optimization": {"stage": 3}}
BEST = {"load_best_model_at_end": True}
BAD: list[tuple[Any, dict[str, Any], str]] = [
    (STAGE3, {"auto_find_batch_size": True}, "/training/auto_find_batch_size"),
    (HEALTHY, {"device_map": "auto"}, "/training/device_map"),
    (HEALTHY, {"model_init_kwargs": {"device_map": "auto"}}, "/training/model_init_kwargs/device_map"),
    (HEALTHY, {"fsdp": "full_shard"}, "/training/fsdp"),
    (HEALTHY, BEST, "/training/load_best_model_at_end"),
    (HEALTHY, BEST | {"save_strategy": "no"}, "/training/load_best_model_at_end"),
    (HEALTHY, BEST | {"eval_strategy": "epoch"}, "/training/load_best_model_at_end"),
    (HEALTHY, BEST | {"eval_strategy": "steps", "eval_steps": 300}, "/training/save_steps"),
    (HEALTHY, BEST | {"eval_strategy": "steps", "save_steps": 250}, "/training/save_steps"),
    (
        HEALTHY,
        BEST | {"save_only_model": True, "save_strategy": "epoch", "eval_strategy": "epoch"},
        "/training/save_only_model",
    ),
]


@pytest.mark.parametrize(("config", "training", "path"), BAD)
def test_bad(config: Any, training: dict[str, Any], path: str) -> None:
    training = {"loop": "TRAINER", **training}
    if path.endswith("load_best_model_at_end") and training.get("save_strategy") == "no":
        training["eval_strategy"] = "steps"
    (finding,) = lint(Rule, config, training=training)
    assert finding.severity is Severity.ERROR
    assert finding.location.config_path == path
    for fix in (finding.fix, *finding.alternatives):
        assert cured(Rule, config, fix, training=training) == [], fix.description


def test_only_what_is_refused_blocks() -> None:
    (finding,) = lint(Rule, HEALTHY, training={"loop": "TRAINER", "device_map": "auto"})
    assert finding.blocks_start is False
    (finding,) = lint(Rule, STAGE3, training={"loop": "TRAINER", "auto_find_batch_size": True})
    assert finding.blocks_start is True


def test_a_warning_while_nobody_said_who_runs_it() -> None:
    (finding,) = lint(Rule, STAGE3, training={"auto_find_batch_size": True})
    assert finding.severity is Severity.WARNING
    assert lint(Rule, STAGE3, training={"loop": "DEEPSPEED", "auto_find_batch_size": True}) == []


@pytest.mark.parametrize(
    "training",
    [
        {"auto_find_batch_size": True},
        BEST | {"save_strategy": "best", "eval_strategy": "steps"},
        BEST | {"save_strategy": "epoch", "eval_strategy": "epoch"},
        BEST | {"eval_strategy": "steps", "eval_steps": 250, "save_steps": 500},
        BEST | {"eval_strategy": "steps", "eval_steps": 0.1, "save_steps": 0.2},
        {"save_only_model": True, "fsdp": "", "device_map": None},
    ],
)
def test_good(training: dict[str, Any]) -> None:
    assert lint(Rule, HEALTHY, training={"loop": "TRAINER", **training}) == []


@pytest.mark.parametrize(
    ("config", "training", "path"), [b for b in BAD if "best" in b[2] or "save_steps" in b[2]]
)
def test_training_arguments_refuse_it_too(
    config: Any, training: dict[str, Any], path: str, tmp_path: Any
) -> None:
    transformers = pytest.importorskip("transformers")
    if training.get("save_strategy") == "no":
        training = training | {"eval_strategy": "steps"}
    with pytest.raises(ValueError, match="load_best_model_at_end requires"):
        transformers.TrainingArguments(str(tmp_path), use_cpu=True, **training)

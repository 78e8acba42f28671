"""What the lint says of versions: since when a key breaks, what it needs, where a fault was fixed."""

import json
from typing import Any

import pytest
from benchmarks.lint_agreement import lint

from hotfire.rules.evidence import Severity

BATCH = {"train_micro_batch_size_per_gpu": 1}
BREAKS = [
    ({"bf16": {"enabled": True, "loss_scale": 0}}, "/bf16/loss_scale", "0.17.1"),
    ({"bf16": {"enabled": True, "initial_scale_power": 16}}, "/bf16/initial_scale_power", "0.17.1"),
    ({"fp16": {"enabled": True, "opt_level": "O2"}}, "/fp16/opt_level", "0.17.1"),
    ({"fp16": {"enabled": True, "min_loss_scale": 0.5}}, "/fp16/min_loss_scale", "0.17.1"),
    ({"compile": {"backend": "inductor"}}, "/compile/backend", "0.16.6"),
    ({"compile": {"disable": False}}, "/compile/disable", "0.16.6"),
    ({"compression_training": {}}, "/compression_training", "0.19.7"),
    ({"amp": {"enabled": False}}, "/amp", "0.19.8"),
    ({"elasticity": {"enabled": False}}, "/elasticity", "0.19.8"),
    (
        {"zero_optimization": {"stage": 3, "mics_shard_size": 2}},
        "/zero_optimization/mics_shard_size",
        "0.19.7",
    ),
    (
        {"zero_optimization": {"stage": 2, "reduce_bucket_size": 0}},
        "/zero_optimization/reduce_bucket_size",
        "0.19.7",
    ),
]
BEFORE = {"0.16.6": "0.16.5", "0.17.1": "0.17.0", "0.19.7": "0.19.6", "0.19.8": "0.19.7"}
NEEDS = [
    (
        {"zero_optimization": {"stage": 2, "zenflow": {"topk_ratio": 0.1}}},
        "/zero_optimization/zenflow",
        "0.17.4",
        "0.17.5",
    ),
    (
        {"bf16": {"enabled": True, "bf16_master_weights_and_grads": True}, "zero_optimization": {"stage": 1}},
        "/bf16/bf16_master_weights_and_grads",
        "0.18.2",
        "0.18.3",
    ),
    ({"compile": {"passes": ["autosp"]}}, "/compile/passes", "0.18.8", "0.18.9"),
    (
        {"zero_optimization": {"stage": 3, "leaf_module": {"classes": ["A"]}}},
        "/zero_optimization/leaf_module",
        "0.17.6",
        "0.18.0",
    ),
    ({"torch_autocast": {"enabled": True, "dtype": "bfloat16"}}, "/torch_autocast", "0.17.1", "0.17.2"),
    ({"gradient_allreduce_op": "mean"}, "/gradient_allreduce_op", "0.19.3", "0.19.6"),
]
STAGE_2 = {"bf16": {"enabled": True}, "zero_optimization": {"stage": 2}}
FIXED = [
    (STAGE_2 | {"gradient_accumulation_steps": 2}, "0.18.2", "0.18.3"),
    ({"zero_optimization": {"stage": 2, "overlap_comm": True}}, "0.17.1", "0.17.5"),
]


def told(config: dict[str, Any], key: str, version: str) -> list[tuple[Severity | None, str]]:
    found = lint(json.dumps(BATCH | config), version)
    return [
        (f.severity, f.message) for f in found if f.location and f.location.config_path == f"/deepspeed{key}"
    ]


@pytest.mark.parametrize(("config", "key", "since"), BREAKS, ids=[key for _, key, _ in BREAKS])
def test_since_when_a_key_breaks(config: dict[str, Any], key: str, since: str) -> None:
    for version in (since, "0.19.8"):
        severity, message = next(t for t in told(config, key, version) if t[0] is Severity.ERROR)
        assert severity is Severity.ERROR
        assert f"this key breaks since {since}" in message
    assert all("breaks since" not in message for _, message in told(config, key, BEFORE[since]))


@pytest.mark.parametrize(("config", "key", "before", "since"), NEEDS, ids=[key for _, key, *_ in NEEDS])
def test_what_a_key_needs(config: dict[str, Any], key: str, before: str, since: str) -> None:
    ((_, message),) = told(config, key, before)
    assert f"needs DeepSpeed {since} or later" in message
    assert all("needs DeepSpeed" not in message for _, message in told(config, key, since))


@pytest.mark.parametrize(("config", "version", "fixed"), FIXED)
def test_where_a_fault_was_fixed(config: dict[str, Any], version: str, fixed: str) -> None:
    messages = [f.message for f in lint(json.dumps(BATCH | config), version) if f.rule_id == "C115"]
    assert any(f"fixed in {fixed}" in message for message in messages), messages
    assert all(
        f.rule_id != "C115" or f"fixed in {fixed}" not in f.message
        for f in lint(json.dumps(BATCH | config), fixed)
    )

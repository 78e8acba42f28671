"""Every setting that real configs give and DeepSpeed ignores without a word: one entry each.

The list is that of the 110 public configs (shared practice, "silently ignored"), made small, and what DeepSpeed's
own reading of a config adds to it. The configs themselves are checked in tests/unit/dsconfig/test_agreement.py.
"""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from benchmarks.lint_agreement import lint

from hotfire.rules.evidence import Severity

CPU = {"device": "cpu", "pin_memory": True}
BATCH = {"train_micro_batch_size_per_gpu": 1}


@dataclass(frozen=True)
class Ignored:
    where: str
    config: dict[str, Any]
    key: str
    rule: str
    severity: Severity = Severity.WARNING


LISTED = [
    Ignored(
        "FlagEmbedding llm_embedder stage2-offload: offload_optimizer at the top level",
        {"offload_optimizer": CPU, "zero_optimization": {"stage": 2}},
        "/offload_optimizer",
        "ignored-setting",
    ),
    *(
        Ignored(
            f"{where}: offload_param at stage {stage}",
            {"zero_optimization": {"stage": stage, "offload_param": CPU}},
            "/zero_optimization/offload_param",
            "ignored-setting",
        )
        for where, stage in (
            ("trlx summarize_rlhf sft, reward model, ppo", 2),
            ("Qwen2-VL-Finetune zero2_offload", 2),
            ("stage 1", 1),
            ("DeepSpeed tests hybrid_engine", 0),
        )
    ),
    Ignored(
        "LLaMA-Factory ds_z3_fp8_config: comms_config",
        {"comms_config": {"verbose": True}},
        "/comms_config",
        "unknown-key",
    ),
    Ignored(
        "LLaMA-Factory ds_z3_fp8_config: monitor_config",
        {"monitor_config": {"enabled": True, "tag": "x", "csv_monitor": {"enabled": True}}},
        "/monitor_config",
        "unknown-key",
    ),
    Ignored("InternVL segmentation: log", {"log": {"steps_per_print": 10}}, "/log", "unknown-key"),
    Ignored(
        "DeepSpeedExamples imagenet", {"cuda_visible_devices": 0}, "/cuda_visible_devices", "unknown-key"
    ),
]
READ_IN_THE_SOURCES = [
    Ignored(
        "a misspelt section",
        {"zero_optimisation": {"stage": 2}},
        "/zero_optimisation",
        "unknown-key",
        Severity.ERROR,
    ),
    Ignored(
        "a section without a stage", {"zero_optimization": {"overlap_comm": True}}, "/zero_optimization",
        "ignored-setting",
    ),
    Ignored(
        "offload_optimizer at stage 0",
        {"zero_optimization": {"stage": 0, "offload_optimizer": CPU}},
        "/zero_optimization/offload_optimizer",
        "ignored-setting",
    ),
    Ignored(
        "a key of stage 3 at stage 2",
        {"zero_optimization": {"stage": 2, "stage3_prefetch_bucket_size": 1000}},
        "/zero_optimization/stage3_prefetch_bucket_size",
        "ignored-setting",
    ),
    Ignored(
        "only keys of stage 3 with their defaults, at stage 1",
        {"zero_optimization": {"stage": 1, "stage3_max_live_parameters": 1e9}},
        "/zero_optimization/stage3_max_live_parameters",
        "ignored-setting",
    ),
    Ignored(
        "an optimizer without a type",
        {"optimizer": {"params": {"lr": 1e-4}}},
        "/optimizer/type",
        "ignored-setting",
    ),
    Ignored(
        "a scheduler without a type",
        {"scheduler": {"params": {"warmup_num_steps": 10}}},
        "/scheduler/type",
        "ignored-setting",
    ),
    Ignored("bfloat16 beside bf16", {"bf16": {"enabled": True}, "bfloat16": {"enabled": True}}, "/bfloat16",
            "ignored-setting"),
]  # fmt: skip


@pytest.mark.parametrize("version", ["0.14.5", "0.17.0", "0.19.8"])
@pytest.mark.parametrize("case", LISTED + READ_IN_THE_SOURCES, ids=lambda case: case.where)
def test_it_is_found(case: Ignored, version: str) -> None:
    found = lint(json.dumps(BATCH | case.config), version)
    there = [
        f
        for f in found
        if f.severity is not Severity.INFO
        and f.location
        and f.location.config_path == f"/deepspeed{case.key}"
    ]
    assert [(f.rule, f.severity) for f in there] == [(case.rule, case.severity)], [f.message for f in found]


@pytest.mark.parametrize("name", ["_comment", "_readme"])
def test_a_deliberate_comment_is_none_of_them(name: str) -> None:
    found = lint(json.dumps(BATCH | {name: "tuned for 8 GPUs"}), "0.19.8")
    assert [f for f in found if f.severity is not Severity.INFO] == []

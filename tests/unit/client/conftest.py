"""A whole preflight as the service would return it, and an in-process server."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from hotfire import wire
from hotfire.v1 import preflight_pb2, spec_pb2

DS_CONFIG = {
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "bf16": {"enabled": True},
    "zero_optimization": {"stage": 2, "overlap_comm": True},
}


@pytest.fixture
def broken_preflight() -> preflight_pb2.Preflight:
    """GLM-4 whose answers are all cut off: loss NaN, gradient 0, ZeRO not the cause, a verified fix."""
    spec = wire.message_from_dict(
        {
            "model": {"path": "/models/glm4-tiny"},
            "data": {"uri": "file:///data/train.jsonl"},
            "deepspeed": {"config_json": json.dumps(DS_CONFIG, indent=2)},
            "training": {"max_length": 32, "learning_rate": 2e-4, "max_steps": 200, "assistant_only_loss": True},
            "cluster": {"num_gpus": 16, "gpu_memory_bytes": 80 * 2**30},
        },
        spec_pb2.PreflightSpec,
    )
    report = {
        "verdict": "FAIL",
        "headline": "Every answer is cut off: with max_length 32 all 24 rows lose their whole answer, so no token "
        "is trained on and the Trainer will log loss 0.0, grad_norm 0.0 (14 of 79 checks skipped)",
        "findings": [
            {
                "rule": "no-supervised-tokens",
                "rule_id": "D101",
                "severity": "ERROR",
                "message": "All 24 rows have no label other than -100: the loss looks at nothing.",
                "location": {"config_path": "/training/max_length", "row": 1},
                "evidence": {"num_rows": 24, "num_rows_without_labels": 24, "max_length": 32, "longest": 187},
                "fix": {
                    "description": "Raise max_length to 192, which keeps every answer whole",
                    "patch": [{"op": "replace", "path": "/training/max_length", "value": 192}],
                    "verification": "VERIFIED",
                    "trial": "fix-1",
                },
            },
            {
                "rule": "zero-gradient",
                "rule_id": "R103",
                "severity": "ERROR",
                "message": "The gradient is exactly 0 on all 8 applied steps.",
                "location": {"trial": "candidate", "step": 1},
                "evidence": {"grad_norm": 0, "loss": "NaN"},
                "fix": {
                    "description": "Use ZeRO-3",
                    "patch": [{"op": "replace", "path": "/deepspeed/zero_optimization/stage", "value": 3}],
                    "verification": "REFUTED",
                    "trial": "fix-2",
                    "reason": "the gradient is still exactly 0",
                },
            },
            {
                "rule": "poor-use-of-tokens",
                "rule_id": "D118",
                "severity": "INFO",
                "message": "61 % of the tokens of a batch are padding.",
            },
        ],
        "recommendation": {
            "description": "Raise max_length to 192, which keeps every answer whole",
            "patch": [{"op": "replace", "path": "/training/max_length", "value": 192}],
            "verification": "VERIFIED",
            "trial": "fix-1",
        },
        "checks": [
            {"rule": "no-supervised-tokens", "rule_id": "D101", "outcome": "FOUND"},
            {"rule": "zero-gradient", "rule_id": "R103", "outcome": "FOUND"},
            {"rule": "unreadable-config", "rule_id": "C101", "outcome": "PASSED"},
            {"rule": "known-bad-version", "outcome": "SKIPPED", "reason": "no target versions were given"},
            {"rule": "host-memory", "outcome": "SKIPPED", "reason": "no host memory was given"},
            {"rule": "reload-differs", "outcome": "SKIPPED", "reason": "no target versions were given"},
            {"rule": "hang", "outcome": "ERROR", "reason": "the rule itself failed: KeyError: 'x'"},
        ],
        "trials": [
            _trial("candidate", "CANDIDATE", "DOES_NOT_TRAIN", [math.nan] * 8, [0.0] * 8),
            _trial("reference", "REFERENCE", "DOES_NOT_TRAIN", [math.nan] * 8, [0.0] * 8),
            _trial(
                "fix-1",
                "FIX",
                "TRAINS",
                [7.62, 7.6, 7.58, 7.5, 7.44, 7.1, 6.8, 6.61],
                [3.2, 3.1, 3.15, 2.9, 2.7, 2.6, 2.62, 2.2],
                patch=[{"op": "replace", "path": "/training/max_length", "value": 192}],
            ),
        ],
        "zero": {
            "submitted_stage": 2,
            "guilty": "NOT_ZERO",
            "explanation": "Without DeepSpeed the same batches give the same NaN loss and the same zero gradient.",
            "stages": [
                {"stage": 1, "outcome": "DOES_NOT_TRAIN", "agrees_with_reference": True, "step_seconds": 0.021},
                {
                    "stage": 2,
                    "outcome": "DOES_NOT_TRAIN",
                    "agrees_with_reference": True,
                    "loss_gap": 0.0,
                    "grad_norm_gap": 0.00031,
                    "peak_memory_bytes": 2**29,
                    "step_seconds": 0.022,
                    "forecast_bytes": 31 * 2**30,
                },
                {"stage": 3, "outcome": "CRASHED", "agrees_with_reference": False, "loss_gap": 0.21},
            ],
        },
        "data": {
            "num_rows_read": 25,
            "num_rows_usable": 24,
            "rejected": [{"row": 9, "reason": "no field 'messages'"}],
            "format": "MESSAGES",
            "supervised_token_share": 0.0,
            "length_p50": 32,
            "length_p90": 32,
            "length_p99": 32,
            "length_max": 32,
            "truncated_row_share": 1.0,
            "samples": [
                {
                    "row": 3,
                    "why": "longest row",
                    "tokens": [
                        {"id": 1, "text": "[gMASK]", "trained": False},
                        {"id": 2, "text": "<sop>", "trained": False},
                        {"id": 3, "text": "<|user|>", "trained": False},
                        {"id": 4, "text": "\nWhat is", "trained": False},
                        {"id": 5, "text": " 2+2?", "trained": False},
                        {"id": 6, "text": "<|assistant|>", "trained": False},
                        {"id": 7, "text": "\nFour", "trained": True},
                        {"id": 8, "text": "\x1b[31m.", "trained": True},
                    ],
                }
            ],
        },
        "memory": {
            "stages": [
                {
                    "stage": stage,
                    "offload": "none",
                    "states_bytes": states * 2**30,
                    "activations_bytes": 9 * 2**30,
                    "buffers_bytes": 2 * 2**30,
                    "total_bytes": (states + 11) * 2**30,
                    "low_bytes": (states + 9) * 2**30,
                    "high_bytes": (states + 14) * 2**30,
                    "available_bytes": 80 * 2**30,
                    "fits": states < 69,
                }
                for stage, states in ((0, 141), (1, 43), (2, 27), (3, 9))
            ],
            "largest_micro_batch_size": 4,
        },
        "environment": {
            "versions": {"torch": "2.13.0", "deepspeed": "0.19.8", "transformers": "5.23.0"},
            "device": "cpu",
            "launcher": "warm",
            "pool": "default",
            "emulated": ["The trials ran on CPU: numerics of bf16 are those of the CPU."],
        },
    }
    return wire.message_from_dict(
        {
            "name": "preflights/glm4-demo",
            "state": "SUCCEEDED",
            "spec": wire.message_to_dict(spec),
            "report": report,
            "create_time": "2026-11-24T04:00:00Z",
            "start_time": "2026-11-24T04:00:01Z",
            "end_time": "2026-11-24T04:00:09.500Z",
            "attempt": 1,
        },
        preflight_pb2.Preflight,
    )


def _trial(
    name: str, role: str, outcome: str, losses: list[float], norms: list[float], **more: Any
) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        "outcome": outcome,
        "num_ranks": 2,
        "steps": [
            {
                "step": i + 1,
                "phase": "SCHEDULED" if i < 5 else "PEAK",
                "applied": True,
                "loss": loss,
                "grad_norm": norm,
                "grad_norm_measured": norm,
                "learning_rate": 2e-5 * (i + 1),
            }
            for i, (loss, norm) in enumerate(zip(losses, norms, strict=True))
        ],
        "adaptations": [
            {
                "path": "/deepspeed/train_batch_size",
                "before": 128,
                "after": 16,
                "reason": "2 ranks here instead of 16",
            }
        ]
        if role == "CANDIDATE"
        else [],
        "phase_seconds": {"model": 0.2, "engine": 0.3, "steps": 0.4},
    } | more

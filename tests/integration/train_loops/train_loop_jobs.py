"""Jobs for the tests of the loops: configs, rows, training arguments."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hotfire.rules.evidence import Trial

NUM_RANKS = 2
TRAINING = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",
    "weight_decay": 0.01,
    "max_steps": 1000,
}
RunTrial = Callable[..., Trial]


def ds_config(stage: int, precision: str = "fp32", **more: Any) -> dict[str, Any]:
    """A DeepSpeed config: literal batch sizes of the trial, the optimizer's values equal to TRAINING."""
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 2,
        "gradient_accumulation_steps": 2,
        "gradient_clipping": 1.0,
        "zero_optimization": {"stage": stage},
        "optimizer": {
            "type": "AdamW",
            "params": {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01},
        },
    }
    if precision == "fp16":
        config["fp16"] = {"enabled": True, "initial_scale_power": 12}
    elif precision == "bf16":
        config["bf16"] = {"enabled": True}
    return config | more


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    """What a preparation leaves behind, as far as ranks read it."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"attention_mask": [1] * len(r["input_ids"]), **r}) for r in rows]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "data.json").write_text(json.dumps({"pad_token_id": 0, "extra": {"padding_side": "right"}}))


def make_rows(num_rows: int, *, masked: Callable[[int, int], bool], vocab: int = 512) -> list[dict[str, Any]]:
    """Rows of different lengths; `masked(row, position)` says which labels are -100."""
    rows = []
    for row in range(1, num_rows + 1):
        length = 12 + (7 * row) % 9
        ids = [(31 * row + 17 * position * position + 5) % (vocab - 1) + 1 for position in range(length)]
        labels = [-100 if masked(row, position) else token for position, token in enumerate(ids)]
        rows.append({"row": row, "input_ids": ids, "labels": labels})
    return rows


def uneven_rows() -> list[dict[str, Any]]:
    """24 rows with unequal numbers of supervised tokens."""
    return make_rows(24, masked=lambda row, position: position < 2 + row % 7)


def make_model(folder: Path) -> None:
    """A random llama with two layers, in fp32."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama",
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)

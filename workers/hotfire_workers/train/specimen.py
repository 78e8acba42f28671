"""A tiny job that touches every way ranks take: model, tokenizer, rows, requests. For rehearsals."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hotfire.rules.evidence import PrepareRequest, TrialRequest

_TEMPLATE = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {{ eos_token }}{% endfor %}"
_WORDS = ["<pad>", "<eos>", "<unk>", "user", "assistant", "what", "is", "one", "and", "two", "three"]
_TRAINING = {
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "learning_rate": 1e-3,
    "max_steps": 10,
    "max_length": 32,
    "assistant_only_loss": True,
}


def write(folder: Path) -> None:
    """Write `model/` (a config and a tokenizer, no weights) and `rows.jsonl`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(_WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))  # noqa: S106  no password
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"  # noqa: S106
    )  # fmt: skip
    fast.chat_template = _TEMPLATE
    fast.save_pretrained(folder / "model")
    config = AutoConfig.for_model(
        "glm",
        vocab_size=len(_WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        pad_token_id=0,
        eos_token_id=1,
    )
    config.architectures = ["GlmForCausalLM"]
    config.save_pretrained(folder / "model")
    row = {
        "messages": [
            {"role": "user", "content": "what is one and two"},
            {"role": "assistant", "content": "three"},
        ]
    }
    (folder / "rows.jsonl").write_text((json.dumps(row) + "\n") * 8)


def requests(folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The specimen's requests, in order: (name, kind, request as a dict)."""
    write(folder)
    source = {"path": str(folder / "model"), "init": "RANDOM"}
    preparation = PrepareRequest(
        out_dir=str(folder / "prepared"),
        model=source,
        data={"path": str(folder / "rows.jsonl"), "format": "MESSAGES"},
        training=_TRAINING,
    )
    yield "prepare", "prepare", dataclasses.asdict(preparation)
    for loop in ("TRAINER", "DEEPSPEED"):
        for stage in (2, 3, None):
            name = f"{loop.lower()}-{'reference' if stage is None else f'stage{stage}'}"
            request = TrialRequest(
                name=name,
                role="REFERENCE" if stage is None else "CANDIDATE",
                run_dir=str(folder / name),
                prepared_dir=preparation.out_dir,
                model={"path": str(folder / "prepared" / "model")},
                training={**_TRAINING, "loop": loop, "bf16": True},
                deepspeed=None if stage is None else _config(stage),
                reference_config=_config(2) if stage is None else None,
                loop=loop,
                num_ranks=2,
                num_steps=2,
                num_peak_steps=1,
                max_attempts=4,
                total_steps=10,
            )
            yield name, "trial", dataclasses.asdict(request)


def _config(stage: int) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 1.0,
        "bf16": {"enabled": True},
        "zero_optimization": {"stage": stage},
        "optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "torch_adam": True}},
    }

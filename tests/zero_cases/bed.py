"""The tiny model and the rows that the cases run on, made from an example."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

_HERE = Path(__file__).parent
_EXAMPLE = _HERE.parents[1] / "examples" / "glm4-healthy"
_LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 1500,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "eos_token_id": 0,
    "bos_token_id": None,
    "tie_word_embeddings": False,
    "dtype": "float32",
}


def make_bed() -> Path:
    """Writes `bed/llama` and `bed/data.jsonl` beside the cases; returns the folder of the cases."""
    folder = _HERE / "bed" / "llama"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(_EXAMPLE / "model" / name, folder)
    (folder / "config.json").write_text(json.dumps(_LLAMA))
    lines = []
    for line in (_EXAMPLE / "data.jsonl").read_text(encoding="utf-8").splitlines():
        _, question, answer = json.loads(line)["messages"][:3]
        question = {"role": "user", "content": question["content"].split("\n\n")[-1]}
        lines.append(json.dumps({"messages": [question, answer]}, ensure_ascii=False) + "\n")
    (_HERE / "bed" / "data.jsonl").write_text("".join(lines), encoding="utf-8")
    return _HERE

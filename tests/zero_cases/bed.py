"""What the cases run on: tiny models and forty rows, made from an example and from `models/`. No torch needed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

_HERE = Path(__file__).parent
_EXAMPLE = _HERE.parents[1] / "examples" / "glm4-healthy"
_LLAMA = {
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
#: With it the first layer's output lies beyond 65504, the range of fp16; bf16 and fp32 hold it.
_HOT = 3e4


def make_bed() -> Path:
    """Writes `bed/` beside the cases, unless it is there; returns the folder of the cases."""
    bed = _HERE / "bed"
    bed.mkdir(exist_ok=True)
    _model(bed / "llama", "llama", "LlamaForCausalLM")
    for name, weights in (("hot", _hot_weights), ("nan", _nan_weights)):
        _model(bed / name, "llama", "LlamaForCausalLM")
        if not (file := bed / name / "model.safetensors").is_file():
            save_file(weights(), file, metadata={"format": "pt"})
    _own_code(bed / "norm-loss", "norm_loss", "NormLoss")
    _own_code(bed / "experts", "experts", "Experts")
    _rows(bed / "data.jsonl")
    return _HERE


def _model(folder: Path, model_type: str, architecture: str, **more: Any) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(_EXAMPLE / "model" / name, folder)
    config = {"model_type": model_type, "architectures": [architecture], **_LLAMA, **more}
    (folder / "config.json").write_text(json.dumps(config))


def _own_code(folder: Path, model_type: str, prefix: str) -> None:
    """A model that brings its code: `models/modeling_{model_type}.py`."""
    module = f"modeling_{model_type}"
    code = {
        "AutoConfig": f"{module}.{prefix}Config",
        "AutoModelForCausalLM": f"{module}.{prefix}ForCausalLM",
    }
    _model(folder, model_type, code["AutoModelForCausalLM"].partition(".")[2], auto_map=code)
    shutil.copy(_HERE / "models" / f"{module}.py", folder)


def _rows(path: Path) -> None:
    """The example's questions without their passage: short rows, fast steps."""
    lines = []
    for line in (_EXAMPLE / "data.jsonl").read_text(encoding="utf-8").splitlines():
        _, question, answer = json.loads(line)["messages"][:3]
        question = {"role": "user", "content": question["content"].split("\n\n")[-1]}
        lines.append(json.dumps({"messages": [question, answer]}, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def _fresh_weights() -> dict[str, np.ndarray]:
    """As a Llama of this size is initialised."""
    hidden, inner, vocabulary = _LLAMA["hidden_size"], _LLAMA["intermediate_size"], _LLAMA["vocab_size"]
    key_value = hidden * _LLAMA["num_key_value_heads"] // _LLAMA["num_attention_heads"]
    shapes = {"model.embed_tokens": (vocabulary, hidden), "lm_head": (vocabulary, hidden)}
    norms = ["model.norm"]
    for layer in range(_LLAMA["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        for name, rows in (("q", hidden), ("k", key_value), ("v", key_value), ("o", hidden)):
            shapes[f"{at}.self_attn.{name}_proj"] = (rows, hidden)
        shapes |= {f"{at}.mlp.{name}_proj": (inner, hidden) for name in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj"] = (hidden, inner)
        norms += [f"{at}.input_layernorm", f"{at}.post_attention_layernorm"]
    random = np.random.default_rng(7)
    weights = {f"{n}.weight": random.normal(0, 0.02, s).astype(np.float32) for n, s in shapes.items()}
    return weights | {f"{name}.weight": np.ones(hidden, dtype=np.float32) for name in norms}


def _hot_weights() -> dict[str, np.ndarray]:
    weights = _fresh_weights()
    for name in ("up", "down"):
        weights[f"model.layers.0.mlp.{name}_proj.weight"] *= _HOT
    return weights


def _nan_weights() -> dict[str, np.ndarray]:
    weights = _fresh_weights()
    weights["model.layers.1.self_attn.o_proj.weight"][0, 0] = np.nan
    return weights

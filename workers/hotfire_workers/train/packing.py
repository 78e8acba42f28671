"""Do packed rows attend to each other? Tried with a small copy of the job's architecture."""

from __future__ import annotations

from typing import Any

import torch

from hotfire_workers.train.folder import quiet_libraries

_SMALL: dict[str, int] = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 128,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "max_position_embeddings": 128,
}
_NO_TOKENS = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
"""The architecture's default ids are beyond the small vocabulary."""
_TOLERANCE = 1e-3
"""Rounding is 1e-6; a row that sees another one differs by 1e-1."""


def packing_leak(config: dict[str, Any], attention: str | None) -> dict[str, Any] | None:
    """Runs two rows apart and packed (positions counted from 0 in each, no mask), and compares the second.

    Args:
        config: The model's config.json.
        attention: `attn_implementation`; None: the default of transformers.

    Returns:
        `attention`, `max_difference` (of the second row's logits), `leaks`. None where the architecture
        cannot be made small, or this backend does not run here.
    """
    try:
        with quiet_libraries(), torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            model = _small_model(config, attention).eval()
            return _measure(model)
    except Exception:  # noqa: BLE001 - an architecture that cannot be shrunk so: nothing is known then
        return None


def _small_model(config: dict[str, Any], attention: str | None) -> Any:
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    fields = {k: v for k, v in config.items() if k not in ("model_type", "layer_types")}
    fields |= {name: size for name, size in _SMALL.items() if name in config or name == "vocab_size"}
    fields |= _NO_TOKENS
    for name in ("rope_scaling", "quantization_config"):
        fields.pop(name, None)
    made = CONFIG_MAPPING[config["model_type"]].from_dict(fields)
    how = {"attn_implementation": attention} if attention else {}
    return AutoModelForCausalLM.from_config(made, dtype=torch.float32, **how)


def _measure(model: Any) -> dict[str, Any]:
    first, second = torch.arange(5, 17)[None], torch.arange(40, 52)[None]
    num = first.shape[1]
    alone = model(input_ids=second, use_cache=False).logits[0]
    positions = torch.arange(num).repeat(2)[None]
    packed = model(input_ids=torch.cat([first, second], 1), position_ids=positions, use_cache=False)
    difference = float((packed.logits[0, num:] - alone).abs().max())
    # What a row that does see the other one differs by: the scale to judge by.
    scale = float((model(input_ids=torch.cat([first, second], 1)).logits[0, num:] - alone).abs().max())
    return {
        "attention": str(getattr(model.config, "_attn_implementation", None)),
        "max_difference": difference,
        "leaks": difference > _TOLERANCE * max(scale, 1e-6) + 1e-5,
    }

"""Activations that are counted against the tensors that PyTorch saves in transformers' own layers."""

from __future__ import annotations

import json

import pytest

from hotfire.dsconfig.memory_activations import activations_of
from hotfire.dsconfig.memory_model import decoder_of
from hotfire.dsconfig.memory_setting import Setting
from hotfire.dsconfig.memory_trainable import trained
from hotfire.dsconfig.states import Placement

_SIZES = {
    "vocab_size": 256, "hidden_size": 256, "intermediate_size": 704, "num_attention_heads": 8, "num_key_value_heads": 2,
    "head_dim": 32, "moe_intermediate_size": 128, "num_experts": 8, "num_local_experts": 8, "num_experts_per_tok": 2,
    "shared_expert_intermediate_size": 128, "n_routed_experts": 8, "n_group": 1, "topk_group": 1, "kv_lora_rank": 64,
    "q_lora_rank": 96, "qk_rope_head_dim": 16, "qk_nope_head_dim": 32, "v_head_dim": 32, "first_k_dense_replace": 1,
    "ffn_dim": 1024, "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_ROWS = 2
_LORA = {"r": 8, "target_modules": "all-linear"}


def saved_bytes(model, length):
    """Storages that the graph keeps, parameters and buffers left out."""
    import torch

    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor):
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    ids = torch.randint(3, 250, (_ROWS, length))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(input_ids=ids, labels=ids, use_cache=False)
    return sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in own)


def counted_and_saved(kind, dtype, *, attention="sdpa", peft=None, length=64, layers=4, **sizes):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    known = AutoConfig.for_model(kind)
    wanted = {k: v for k, v in (_SIZES | {"num_hidden_layers": layers} | sizes).items() if hasattr(known, k)}
    if "head_dim" not in known.to_dict() and kind in ("gpt_neox", "phi", "opt"):
        wanted.pop("head_dim", None)
    config = AutoConfig.for_model(kind, **wanted)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    if peft:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **peft))
        model.enable_input_require_grads()
    model.to(torch.bfloat16 if dtype == "bf16" else torch.float32).train()
    saved = saved_bytes(model, length)
    decoder = decoder_of(json.loads(config.to_json_string()))
    setting = Setting(
        placement=Placement(stage=0), dtype=dtype, micro_batch_size=_ROWS, length=length, attention=attention,
        adapter_dropout=bool((peft or {}).get("lora_dropout")),
    )  # fmt: skip
    parts = trained(decoder, {"peft": peft} if peft else {})
    counted = activations_of(decoder, parts, setting, length)
    tokens = _ROWS * length
    # Of the logits the graph keeps the fp32 logarithm; gradients come in the backward pass.
    gradients = max(setting.width * 3 * (kind.inner + decoder.hidden) for kind in decoder.kinds)
    return counted.layers + tokens * (4 * decoder.vocab - gradients), saved


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize(
    ("kind", "within"),
    [
        ("llama", 0.02), ("qwen3", 0.02), ("starcoder2", 0.02), ("glm4", 0.06), ("mixtral", 0.08), ("qwen2_moe", 0.08),
        ("phi", 0.08), ("stablelm", 0.08), ("olmo2", 0.15), ("gpt_neox", 0.15), ("opt", 0.15), ("cohere", 0.2),
    ],
)  # fmt: skip
def test_what_is_counted_is_what_pytorch_saves(kind, within, dtype):
    counted, saved = counted_and_saved(kind, dtype)
    assert counted == pytest.approx(saved, rel=within)


@pytest.mark.parametrize(
    ("kind", "options", "within"),
    [
        ("llama", {"attention": "eager", "length": 256}, 0.03),
        ("gemma2", {"attention": "eager"}, 0.12),
        ("gpt_oss", {"attention": "eager"}, 0.15),
        ("deepseek_v3", {"num_key_value_heads": 8, "head_dim": 16}, 0.2),
        ("llama", {"peft": _LORA}, 0.03),
        ("llama", {"peft": _LORA | {"target_modules": ["q_proj", "v_proj"]}}, 0.03),
        ("llama", {"peft": _LORA | {"lora_dropout": 0.1}}, 0.03),
        ("llama", {"layers": 12, "length": 16}, 0.03),
    ],
)
def test_eager_attention_latent_attention_and_adapters(kind, options, within):
    counted, saved = counted_and_saved(kind, "bf16", **options)
    assert counted == pytest.approx(saved, rel=within)

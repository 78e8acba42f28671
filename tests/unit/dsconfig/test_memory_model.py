"""Weights counted from config.json against the models that transformers builds."""

from __future__ import annotations

import json

import pytest

from hotfire.dsconfig.memory_families import FAMILIES
from hotfire.dsconfig.memory_model import UnknownArchitectureError, decoder_of
from hotfire.dsconfig.memory_trainable import trained

_REMOTE = {"chatglm", "baichuan", "internlm2"}


def small(kind, **changes):
    """A config of few layers; every other size is the architecture's own."""
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind)
    for name in ("num_hidden_layers", "n_layer"):
        if hasattr(config, name):
            setattr(config, name, 4)
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:4]
    for name, value in changes.items():
        setattr(config, name, value)
    return config


def built(config):
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("kind", sorted(set(FAMILIES) - _REMOTE))
def test_every_weight_has_the_name_and_shape_that_transformers_gives_it(kind):
    config = small(kind)
    model = decoder_of(json.loads(config.to_json_string()))
    ours = {name: tensor.shape for tensor in model.tensors for name in tensor.names()}
    assert ours == {name: tuple(p.shape) for name, p in built(config).named_parameters()}
    assert model.num_parameters == sum(p.numel() for p in built(config).parameters())


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {"tie_word_embeddings": True, "num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True}),
        ("llama", {"head_dim": 64}),
        ("qwen2_moe", {"decoder_sparse_step": 2, "mlp_only_layers": [3]}),
        ("deepseek_v3", {"q_lora_rank": None, "first_k_dense_replace": 2, "n_shared_experts": 2}),
        ("glm4_moe", {"use_qk_norm": True, "attention_bias": True, "head_dim": 128}),
        ("gpt2", {"n_inner": 1000}),
        ("glm", {"attention_bias": False}),
        ("falcon", {"multi_query": False, "bias": True}),
        ("opt", {"enable_bias": False}),
        ("gpt_neox", {"attention_bias": False}),
    ],
)  # fmt: skip
def test_flags_of_config_json_count(kind, changes):
    config = small(kind, **changes)
    assert decoder_of(json.loads(config.to_json_string())).num_parameters == sum(
        p.numel() for p in built(config).parameters()
    )


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        (
            {
                "model_type": "chatglm", "padded_vocab_size": 151552, "hidden_size": 4096, "ffn_hidden_size": 13696,
                "num_layers": 40, "num_attention_heads": 32, "multi_query_group_num": 2, "kv_channels": 128,
                "add_qkv_bias": True, "add_bias_linear": False,
            },
            9.40,  # THUDM/glm-4-9b-chat
        ),
        (
            {
                "model_type": "internlm2", "vocab_size": 92544, "hidden_size": 4096, "intermediate_size": 14336,
                "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "bias": False,
            },
            7.74,  # internlm/internlm2-7b
        ),
        (
            {
                "model_type": "baichuan", "vocab_size": 125696, "hidden_size": 4096, "intermediate_size": 11008,
                "num_hidden_layers": 32, "num_attention_heads": 32,
            },
            7.51,  # baichuan-inc/Baichuan2-7B-Base
        ),
    ],
)  # fmt: skip
def test_models_with_code_of_their_own_have_the_published_size(config, billions):
    assert decoder_of(config).num_parameters / 1e9 == pytest.approx(billions, abs=0.006)


def test_an_architecture_that_is_not_in_the_table_is_not_guessed():
    with pytest.raises(UnknownArchitectureError, match="'mamba'"):
        decoder_of({"model_type": "mamba", "hidden_size": 1})
    with pytest.raises(UnknownArchitectureError, match="vision_config"):
        decoder_of({"model_type": "llama", "vision_config": {"hidden_size": 1}})
    with pytest.raises(UnknownArchitectureError, match="no model_type"):
        decoder_of({})
    with pytest.raises(UnknownArchitectureError, match="no hidden_size"):
        decoder_of({"model_type": "llama"})


def test_fewer_layers_can_be_counted():
    config = json.loads(small("llama").to_json_string())
    per_layer = (decoder_of(config).num_parameters - decoder_of(config, num_layers=1).num_parameters) / 3
    assert (
        decoder_of(config, num_layers=2).num_parameters == decoder_of(config).num_parameters - 2 * per_layer
    )


_ADAPTERS = (
    ("llama", {"r": 8}),
    ("llama", {"r": 16, "target_modules": "all-linear"}),
    ("llama", {"target_modules": ["q_proj", "down_proj"], "modules_to_save": ["lm_head"]}),
    ("glm4", {"r": 16, "target_modules": "all-linear"}),
    ("gpt_neox", {"target_modules": r".*layers\.[01]\..*query_key_value"}),
    ("qwen3", {"r": 4, "target_modules": ["q_proj"], "layers_to_transform": [1], "use_dora": True}),
    ("qwen3", {"r": 4, "target_modules": ["q_proj", "v_proj"], "rank_pattern": {"v_proj": 16}}),
    ("qwen3", {"target_modules": ["q_proj", "k_proj"], "exclude_modules": ["k_proj"]}),
    ("gpt2", {"r": 8}),
    ("gpt2", {"r": 8, "target_modules": "all-linear"}),
    ("gemma2", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    ("mixtral", {"r": 16, "target_modules": "all-linear"}),
    ("phi", {"target_modules": ["q_proj", "embed_tokens"], "bias": "all"}),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "peft"), _ADAPTERS)
def test_an_adapter_has_as_many_weights_as_peft_gives_it(kind, peft):
    from peft import LoraConfig, get_peft_model

    config = small(kind)
    counted = trained(decoder_of(json.loads(config.to_json_string())), {"peft": peft})
    model = get_peft_model(built(config), LoraConfig(task_type="CAUSAL_LM", **peft))
    assert counted.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert counted.total == sum(p.numel() for p in model.parameters())


def test_patterns_choose_what_is_trained():
    model = decoder_of(json.loads(small("llama").to_json_string()))
    assert trained(model, {}).trainable == model.num_parameters
    head = trained(model, {"trainable": ["lm_head"]})
    assert (head.trainable, head.frozen) == (32000 * 4096, model.num_parameters - 32000 * 4096)
    assert head.is_frozen_base
    rest = trained(model, {"frozen": ["embed_tokens", r"layers\.0\."]})
    layer = sum(t.size for t in model.tensors if t.layers)
    assert rest.trainable == model.num_parameters - 32000 * 4096 - layer


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"peft": {"peft_type": "IA3"}}, "type IA3"),
        ({"trainable": ["("]}, "no regular expression"),
        ({"peft": {"target_modules": "("}}, "no regular expression"),
    ],
)
def test_what_cannot_be_counted_is_said(training, words):
    model = decoder_of(json.loads(small("llama").to_json_string()))
    with pytest.raises(UnknownArchitectureError, match=words):
        trained(model, training)
    glm = decoder_of(json.loads(small("glm4").to_json_string()))
    with pytest.raises(UnknownArchitectureError, match="what PEFT adapts in 'glm4' is not known"):
        trained(glm, {"peft": {"r": 8}})

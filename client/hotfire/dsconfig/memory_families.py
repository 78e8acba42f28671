"""The architectures that are counted, by `model_type`: names and shapes of their weights, as transformers 5 has them.

Sources: `modeling_*.py` of transformers 5.23 (a test compares every name and shape with the model built on the meta
device); for chatglm, baichuan and internlm2 the code published with the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from hotfire.dsconfig.memory_blocks import (
    Attention,
    Mlp,
    Shapes,
    after_dense,
    by_step,
    experts,
    fused,
    gated,
    latent,
    plain,
    separate,
    shared_experts,
)
from hotfire.dsconfig.memory_model import Decoder, LayerShape, Reader, Tensor, UnknownArchitectureError


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """How the weights of an architecture are named and shaped."""

    attention: Callable[[Reader], Attention]
    mlp: Callable[[Reader], Mlp]
    sparse: Callable[[Reader], Mlp] | None = None
    """The MLP of sparse layers."""
    is_sparse: Callable[[Reader, int], bool] = lambda _reader, _layer: True
    norms: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    rms: bool = True
    norm_bias: bool = False
    norm_weight: bool = True
    inner_tensors: int = 3
    """Kept for the backward pass: gate, its activation and up; 1 where there is only an activation."""
    layer: str = "model.layers.{}"
    embedding: str = "model.embed_tokens"
    final_norm: str = "model.norm"
    head: str = "lm_head"
    head_bias: bool = False
    tied: bool = False
    outside: Callable[[Reader], Shapes] = lambda _reader: []
    """What else stands outside the layers."""
    conv1d: bool = False

    def build(self, reader: Reader, num_layers: int | None) -> Decoder:
        """The model of this family with these sizes."""
        hidden, vocab = reader.hidden, reader.size("vocab_size", "padded_vocab_size")
        layers = reader.layers if num_layers is None else min(num_layers, reader.layers)
        attention = self.attention(reader)
        norms = self._norms(self.norms, hidden)
        sparse = {i for i in range(layers) if self.sparse is not None and self.is_sparse(reader, i)}
        tensors, kinds = [], []
        for numbers, make in (
            (tuple(i for i in range(layers) if i not in sparse), self.mlp),
            (tuple(sorted(sparse)), self.sparse),
        ):
            if not numbers or make is None:
                continue
            mlp = make(reader)
            weights = [*norms, *attention.tensors, *mlp.tensors]
            tensors += [
                Tensor(name=f"{self.layer}.{name}", shape=shape, layers=numbers) for name, shape in weights
            ]
            kinds.append(
                LayerShape(
                    num_layers=len(numbers),
                    query=attention.query,
                    key=attention.key,
                    value=attention.value,
                    value_out=attention.value_out,
                    latent=attention.latent,
                    normed=attention.normed,
                    inner=mlp.inner,
                    router=mlp.router,
                    routed=mlp.routed,
                    largest=sum(prod(shape) for _, shape in weights),
                )
            )
        tied = reader.flag("tie_word_embeddings", self.tied)
        outer: Shapes = [(f"{self.embedding}.weight", (vocab, hidden)), *self.outside(reader)]
        outer += self._norms((self.final_norm,), hidden) if self.final_norm else []
        if not tied:
            outer.append((f"{self.head}.weight", (vocab, hidden)))
        if self.head_bias:
            outer.append((f"{self.head}.bias", (vocab,)))
        tensors += [Tensor(name=name, shape=shape) for name, shape in outer]
        return Decoder(
            model_type=str(reader.config.get("model_type")),
            hidden=hidden,
            vocab=vocab,
            heads=reader.heads,
            tensors=tuple(tensors),
            kinds=tuple(kinds),
            norms=max(1, len(self.norms)),
            rms=self.rms,
            inner_tensors=self.inner_tensors,
            embedding=self.embedding,
            head=self.head,
            tied=tied,
            conv1d=self.conv1d,
            config=reader.config,
        )

    def _norms(self, names: tuple[str, ...], hidden: int) -> Shapes:
        if not self.norm_weight:
            return []
        parts = ("weight", "bias") if self.norm_bias else ("weight",)
        return [(f"{name}.{part}", (hidden,)) for name in names for part in parts]


# --- The table --------------------------------------------------------------------------------------------


def _positions(name: str, *, extra: int = 0) -> Callable[[Reader], Shapes]:
    def build(reader: Reader) -> Shapes:
        return [(name, (reader.size("max_position_embeddings", "n_positions") + extra, reader.hidden))]

    return build


def _opt_positions(reader: Reader) -> Shapes:
    if reader.find("word_embed_proj_dim") not in (None, reader.hidden):
        raise UnknownArchitectureError("opt with word_embed_proj_dim other than hidden_size is not counted")
    return _positions("model.decoder.embed_positions.weight", extra=2)(reader)


def _bloom_norm(reader: Reader) -> Shapes:
    name = "transformer.word_embeddings_layernorm"
    return [(f"{name}.weight", (reader.hidden,)), (f"{name}.bias", (reader.hidden,))]


def _falcon(reader: Reader) -> Attention:
    if reader.flag("new_decoder_architecture", False) or reader.flag("alibi", False):
        raise UnknownArchitectureError("falcon with new_decoder_architecture or alibi is not counted")
    many = not reader.flag("multi_query", True)
    return fused(
        "self_attention.query_key_value",
        "self_attention.dense",
        bias="bias",
        groups=lambda r: r.heads if many else 1,
    )(reader)


def _cohere(reader: Reader) -> Attention:
    if reader.flag("use_qk_norm", False):
        raise UnknownArchitectureError("cohere with use_qk_norm is not counted")
    return separate(qkv_bias="attention_bias", out_bias="attention_bias")(reader)


def _phi(reader: Reader) -> Attention:
    if reader.flag("qk_layernorm", False):
        raise UnknownArchitectureError("qk_layernorm is not counted")
    return separate(qkv_bias=True, out_bias=True, out="dense")(reader)


def _stablelm(reader: Reader) -> Attention:
    if reader.flag("qk_layernorm", False) or reader.flag("use_parallel_residual", False):
        raise UnknownArchitectureError("qk_layernorm and use_parallel_residual are not counted")
    return separate(qkv_bias="use_qkv_bias")(reader)


_FOUR_NORMS = (
    "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm",
)  # fmt: skip
_GLM_NORMS = (
    "input_layernorm", "post_attention_layernorm", "post_self_attn_layernorm", "post_mlp_layernorm",
)  # fmt: skip
_AFTER = ("post_attention_layernorm", "post_feedforward_layernorm")
_TRANSFORMER: dict[str, Any] = {
    "layer": "transformer.h.{}",
    "final_norm": "transformer.ln_f",
    "rms": False,
    "norm_bias": True,
    "inner_tensors": 1,
}
_LLAMA = Family(
    attention=separate(qkv_bias="attention_bias", out_bias="attention_bias"), mlp=gated(bias="mlp_bias")
)
_MISTRAL = Family(attention=separate(), mlp=gated())
_DEEPSEEK = Family(
    attention=latent,
    mlp=gated(bias="mlp_bias"),
    sparse=experts(shared="shared_experts", shared_inner=shared_experts),
    is_sparse=after_dense,
)
_GPT2 = Family(
    attention=fused("attn.c_attn", "attn.c_proj", bias=True, conv1d=True, groups=lambda r: r.heads),
    mlp=plain("mlp.c_fc", "mlp.c_proj", conv1d=True),
    norms=("ln_1", "ln_2"),
    embedding="transformer.wte",
    outside=_positions("transformer.wpe.weight"),
    tied=True,
    conv1d=True,
    **_TRANSFORMER,
)
_GEMMA_ATTENTION = separate(head_dim=256, qkv_bias="attention_bias", out_bias="attention_bias")

FAMILIES: dict[str, Family] = {
    "llama": _LLAMA,
    "granite": _LLAMA,
    "mistral": _MISTRAL,
    "helium": _LLAMA,
    "smollm3": Family(attention=_LLAMA.attention, mlp=_LLAMA.mlp, tied=True),
    "seed_oss": Family(
        attention=separate(
            head_dim=128, qkv_bias="attention_bias", default_bias=True, out_bias="attention_out_bias"
        ),
        mlp=gated(bias="mlp_bias"),
    ),
    "ernie4_5": Family(
        attention=separate(head_dim=128, qkv_bias="use_bias", out_bias="use_bias"),
        mlp=gated(bias="use_bias"),
        tied=True,
    ),
    "qwen2": Family(attention=separate(qkv_bias=True), mlp=gated()),
    "qwen2_moe": Family(
        attention=separate(qkv_bias="qkv_bias", default_bias=True),
        mlp=gated(),
        sparse=experts(
            shared="shared_expert",
            shared_inner=lambda r: r.size("shared_expert_intermediate_size"),
            shared_gate=True,
        ),
        is_sparse=by_step,
    ),
    "qwen3": Family(
        attention=separate(
            head_dim=128, qkv_bias="attention_bias", out_bias="attention_bias", qk_norm="head"
        ),
        mlp=gated(),
    ),
    "qwen3_moe": Family(
        attention=separate(qkv_bias="attention_bias", out_bias="attention_bias", qk_norm="head"),
        mlp=gated(),
        sparse=experts(),
        is_sparse=by_step,
    ),
    "mixtral": Family(attention=separate(), mlp=gated(), sparse=experts(inner=("intermediate_size",))),
    "olmoe": Family(
        attention=separate(qkv_bias="attention_bias", out_bias="attention_bias", qk_norm="full"),
        mlp=gated(),
        sparse=experts(inner=("intermediate_size",)),
    ),
    "gpt_oss": Family(
        attention=separate(
            head_dim=64, qkv_bias="attention_bias", out_bias="attention_bias", default_bias=True, sinks=True
        ),
        mlp=gated(),
        sparse=experts(router="mlp.router", router_bias=True, inner=("intermediate_size",), biased=True),
        inner_tensors=5,  # clamps, and the factors of its own activation
    ),
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": Family(attention=latent, mlp=gated(), sparse=_DEEPSEEK.sparse, is_sparse=after_dense),
    "glm4_moe": Family(
        attention=separate(head_dim=None, qkv_bias="attention_bias", qk_norm="head", qk_flag="use_qk_norm"),
        mlp=gated(),
        sparse=experts(shared="shared_experts", shared_inner=shared_experts),
        is_sparse=after_dense,
    ),
    "gemma": Family(attention=_GEMMA_ATTENTION, mlp=gated(), tied=True),
    "gemma2": Family(attention=_GEMMA_ATTENTION, mlp=gated(), norms=_FOUR_NORMS, tied=True),
    "gemma3_text": Family(
        attention=separate(
            head_dim=256, qkv_bias="attention_bias", out_bias="attention_bias", qk_norm="head"
        ),
        mlp=gated(),
        norms=_FOUR_NORMS,
        tied=True,
    ),
    "glm": Family(
        attention=separate(head_dim=128, qkv_bias="attention_bias", default_bias=True),
        mlp=gated(fused="mlp.gate_up_proj"),
    ),
    "glm4": Family(
        attention=separate(head_dim=128, qkv_bias="attention_bias", default_bias=True),
        mlp=gated(fused="mlp.gate_up_proj"),
        norms=_GLM_NORMS,
    ),
    "chatglm": Family(
        attention=fused(
            "self_attention.query_key_value",
            "self_attention.dense",
            bias="add_qkv_bias",
            out_bias="add_bias_linear",
            groups=lambda r: r.find("multi_query_group_num") or r.heads,
        ),
        mlp=gated(fused="mlp.dense_h_to_4h", down="mlp.dense_4h_to_h", bias="add_bias_linear"),
        layer="transformer.encoder.layers.{}",
        embedding="transformer.embedding.word_embeddings",
        final_norm="transformer.encoder.final_layernorm",
        head="transformer.output_layer",
    ),
    "baichuan": Family(
        attention=fused("self_attn.W_pack", "self_attn.o_proj", groups=lambda r: r.heads), mlp=gated()
    ),
    "internlm2": Family(
        attention=fused("attention.wqkv", "attention.wo", bias="bias"),
        mlp=gated(gate=("feed_forward.w1", "feed_forward.w3"), down="feed_forward.w2"),
        norms=("attention_norm", "ffn_norm"),
        embedding="model.tok_embeddings",
        head="output",
    ),
    "phi3": Family(
        attention=fused("self_attn.qkv_proj", "self_attn.o_proj"), mlp=gated(fused="mlp.gate_up_proj")
    ),
    "phi": Family(
        attention=_phi,
        mlp=plain("mlp.fc1", "mlp.fc2"),
        norms=("input_layernorm",),
        final_norm="model.final_layernorm",
        rms=False,
        norm_bias=True,
        inner_tensors=1,
        head_bias=True,
    ),
    "olmo": Family(
        attention=separate(qkv_bias="attention_bias", out_bias="attention_bias"),
        mlp=gated(),
        rms=False,
        norm_weight=False,
    ),
    "olmo2": Family(
        attention=separate(qkv_bias="attention_bias", out_bias="attention_bias", qk_norm="full"),
        mlp=gated(),
        norms=_AFTER,
    ),
    "exaone4": Family(attention=separate(qk_norm="head"), mlp=gated(), norms=_AFTER),
    "cohere": Family(attention=_cohere, mlp=gated(), norms=("input_layernorm",), tied=True),
    "stablelm": Family(attention=_stablelm, mlp=gated(), rms=False, norm_bias=True),
    "starcoder2": Family(
        attention=separate(qkv_bias="use_bias", out_bias="use_bias", default_bias=True),
        mlp=plain("mlp.c_fc", "mlp.c_proj", bias="use_bias"),
        rms=False,
        norm_bias=True,
        inner_tensors=1,
        tied=True,
    ),
    "gpt_neox": Family(
        attention=fused(
            "attention.query_key_value",
            "attention.dense",
            bias="attention_bias",
            default_bias=True,
            groups=lambda r: r.heads,
        ),
        mlp=plain("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        layer="gpt_neox.layers.{}",
        embedding="gpt_neox.embed_in",
        final_norm="gpt_neox.final_layer_norm",
        rms=False,
        norm_bias=True,
        inner_tensors=1,
    ),
    "gpt2": _GPT2,
    "gptj": Family(
        attention=separate(out="out_proj", block="attn"),
        mlp=plain("mlp.fc_in", "mlp.fc_out"),
        norms=("ln_1",),
        embedding="transformer.wte",
        head_bias=True,
        **_TRANSFORMER,
    ),
    "opt": Family(
        attention=separate(qkv_bias="enable_bias", out_bias="enable_bias", default_bias=True, out="out_proj"),
        mlp=plain("fc1", "fc2", bias="enable_bias"),
        norms=("self_attn_layer_norm", "final_layer_norm"),
        layer="model.decoder.layers.{}",
        embedding="model.decoder.embed_tokens",
        final_norm="model.decoder.final_layer_norm",
        rms=False,
        norm_bias=True,
        inner_tensors=1,
        tied=True,
        outside=_opt_positions,
    ),
    "bloom": Family(
        attention=fused(
            "self_attention.query_key_value", "self_attention.dense", bias=True, groups=lambda r: r.heads
        ),
        mlp=plain("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        norms=("input_layernorm", "post_attention_layernorm"),
        embedding="transformer.word_embeddings",
        outside=_bloom_norm,
        tied=True,
        **_TRANSFORMER,
    ),
    "falcon": Family(
        attention=_falcon,
        mlp=plain("mlp.dense_h_to_4h", "mlp.dense_4h_to_h", bias="bias", default_bias=False),
        norms=("input_layernorm",),
        embedding="transformer.word_embeddings",
        tied=True,
        **_TRANSFORMER,
    ),
}

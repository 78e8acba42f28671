"""The architectures that are counted, by `model_type`: names and shapes of their weights, as transformers 5 has them.

Sources: `modeling_*.py` of transformers 5.23 (a test compares every name and shape with the model built on the meta
device); for chatglm, baichuan and internlm2 the code published with the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hotfire.dsconfig.memory_model import Decoder, LayerShape, Reader, Tensor, UnknownArchitectureError

Shapes = list[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attention:
    """Weights and widths of an attention block."""

    tensors: Shapes
    query: int
    key: int
    value: int
    value_out: int
    latent: int = 0
    normed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Mlp:
    """Weights and widths of a feed-forward block."""

    tensors: Shapes
    inner: int
    router: int = 0
    routed: int = 0


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
                    largest=sum(_size(shape) for _, shape in weights),
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


def _size(shape: tuple[int, ...]) -> int:
    result = 1
    for length in shape:
        result *= length
    return result


def _linear(name: str, out: int, width: int, *, bias: bool = False) -> Shapes:
    weight: Shapes = [(f"{name}.weight", (out, width))]
    return [*weight, (f"{name}.bias", (out,))] if bias else weight


# --- Attention --------------------------------------------------------------------------------------------


def _separate(
    *,
    head_dim: int | None = None,
    qkv_bias: str | bool = False,
    out_bias: str | bool = False,
    default_bias: bool = False,
    out: str = "o_proj",
    block: str = "self_attn",
    qk_norm: str | None = None,
    qk_flag: str | None = None,
    sinks: bool = False,
) -> Callable[[Reader], Attention]:
    """Query, key and value by themselves, grouped or not.

    Args:
        head_dim: Where config.json does not tell; None: hidden size / heads.
        qkv_bias: Whether they have one, or the key of config.json that says so.
        out_bias: The same for the output.
        default_bias: Where config.json does not tell.
        out: Name of the output projection.
        block: Name of the block.
        qk_norm: "head": one weight for each element of a head, "full": of all heads.
        qk_flag: Key of config.json that turns `qk_norm` on.
        sinks: A learnt sink for each head.
    """

    def build(reader: Reader) -> Attention:
        hidden, heads = reader.hidden, reader.heads
        groups = reader.find("num_key_value_heads") or heads
        dim = reader.find("head_dim") or head_dim or hidden // heads
        query, key = heads * dim, groups * dim
        bias, bias_out = (
            reader.flag(b, default_bias) if isinstance(b, str) else b for b in (qkv_bias, out_bias)
        )
        tensors = [
            *_linear(f"{block}.q_proj", query, hidden, bias=bias),
            *_linear(f"{block}.k_proj", key, hidden, bias=bias),
            *_linear(f"{block}.v_proj", key, hidden, bias=bias),
            *_linear(f"{block}.{out}", hidden, query, bias=bias_out),
        ]
        if qk_norm is not None and (qk_flag is None or reader.flag(qk_flag, False)):
            full = qk_norm == "full"
            tensors.append((f"{block}.q_norm.weight", (query if full else dim,)))
            tensors.append((f"{block}.k_norm.weight", (key if full else dim,)))
        if sinks:
            tensors.append((f"{block}.sinks", (heads,)))
        normed = query + key if any("q_norm" in name for name, _ in tensors) else 0
        return Attention(tensors=tensors, query=query, key=key, value=key, value_out=query, normed=normed)

    return build


def _fused(
    name: str,
    out: str,
    *,
    bias: str | bool = False,
    out_bias: str | bool | None = None,
    default_bias: bool = False,
    groups: Callable[[Reader], int] = lambda r: r.find("num_key_value_heads") or r.heads,
    conv1d: bool = False,
) -> Callable[[Reader], Attention]:
    """Query, key and value in one weight."""

    def build(reader: Reader) -> Attention:
        hidden, heads = reader.hidden, reader.heads
        dim = reader.find("head_dim", "kv_channels") or hidden // heads
        query, key = heads * dim, groups(reader) * dim
        has, has_out = (
            reader.flag(b, default_bias) if isinstance(b, str) else bool(b)
            for b in (bias, bias if out_bias is None else out_bias)
        )
        tensors = [
            *_linear(name, query + 2 * key, hidden, bias=has),
            *_linear(out, hidden, query, bias=has_out),
        ]
        if conv1d:
            tensors = [(n, s[::-1]) for n, s in tensors]
        return Attention(tensors=tensors, query=query, key=key, value=key, value_out=query)

    return build


def _latent(reader: Reader) -> Attention:
    """Multi-head latent attention (DeepSeek-V2)."""
    hidden, heads = reader.hidden, reader.heads
    rank, low = reader.size("kv_lora_rank"), reader.find("q_lora_rank")
    rope = reader.size("qk_rope_head_dim")
    per_head, value = reader.size("qk_nope_head_dim") + rope, reader.size("v_head_dim")
    bias = reader.flag("attention_bias", False)
    if low:
        tensors = [
            *_linear("self_attn.q_a_proj", low, hidden, bias=bias),
            ("self_attn.q_a_layernorm.weight", (low,)),
            *_linear("self_attn.q_b_proj", heads * per_head, low),
        ]
    else:
        tensors = _linear("self_attn.q_proj", heads * per_head, hidden)
    tensors += [
        *_linear("self_attn.kv_a_proj_with_mqa", rank + rope, hidden, bias=bias),
        ("self_attn.kv_a_layernorm.weight", (rank,)),
        *_linear("self_attn.kv_b_proj", heads * (per_head - rope + value), rank),
        *_linear("self_attn.o_proj", hidden, heads * value, bias=bias),
    ]
    return Attention(
        tensors=tensors,
        query=heads * per_head,
        key=heads * per_head,
        value=heads * value,
        value_out=heads * value,
        latent=rank + rope + (low or 0),
    )


# --- Feed-forward -----------------------------------------------------------------------------------------


def _inner(reader: Reader) -> int:
    return reader.find("intermediate_size", "ffn_hidden_size", "ffn_dim", "n_inner") or 4 * reader.hidden


def _gated(
    *,
    fused: str | None = None,
    down: str = "mlp.down_proj",
    gate: tuple[str, str] = ("mlp.gate_proj", "mlp.up_proj"),
    bias: str | bool = False,
) -> Callable[[Reader], Mlp]:
    """Gate, up and down; gate and up in one weight where `fused` names it."""

    def build(reader: Reader) -> Mlp:
        hidden, inner = reader.hidden, _inner(reader)
        has = reader.flag(bias, False) if isinstance(bias, str) else bias
        first = (
            _linear(fused, 2 * inner, hidden, bias=has)
            if fused
            else [weight for name in gate for weight in _linear(name, inner, hidden, bias=has)]
        )
        return Mlp(tensors=[*first, *_linear(down, hidden, inner, bias=has)], inner=inner)

    return build


def _plain(
    up: str, down: str, *, bias: str | bool = True, default_bias: bool = True, conv1d: bool = False
) -> Callable[[Reader], Mlp]:
    """Up, an activation, down."""

    def build(reader: Reader) -> Mlp:
        hidden, inner = reader.hidden, _inner(reader)
        has = reader.flag(bias, default_bias) if isinstance(bias, str) else bias
        tensors = [*_linear(up, inner, hidden, bias=has), *_linear(down, hidden, inner, bias=has)]
        return Mlp(tensors=[(n, s[::-1]) for n, s in tensors] if conv1d else tensors, inner=inner)

    return build


def _experts(
    *,
    router: str = "mlp.gate",
    router_bias: bool = False,
    inner: tuple[str, ...] = ("moe_intermediate_size",),
    shared: str | None = None,
    shared_inner: Callable[[Reader], int] | None = None,
    shared_gate: bool = False,
    biased: bool = False,
) -> Callable[[Reader], Mlp]:
    """A sparse block, all experts of it in one weight (transformers 5; earlier versions have as many scalars)."""

    def build(reader: Reader) -> Mlp:
        hidden, width = reader.hidden, reader.size(*inner)
        experts = reader.size("num_experts", "num_local_experts", "n_routed_experts")
        visits = reader.find("num_experts_per_tok") or 1
        gate_up, down = (experts, 2 * width, hidden), (experts, hidden, width)
        if biased:  # gpt-oss stores them transposed
            gate_up, down = (experts, hidden, 2 * width), (experts, width, hidden)
        tensors: Shapes = [
            *_linear(router, experts, hidden, bias=router_bias),
            ("mlp.experts.gate_up_proj", gate_up),
            ("mlp.experts.down_proj", down),
        ]
        if biased:
            tensors.append(("mlp.experts.gate_up_proj_bias", (experts, 2 * width)))
            tensors.append(("mlp.experts.down_proj_bias", (experts, hidden)))
        always = shared_inner(reader) if shared is not None and shared_inner is not None else 0
        if always:
            for name in ("gate_proj", "up_proj"):
                tensors += _linear(f"mlp.{shared}.{name}", always, hidden)
            tensors += _linear(f"mlp.{shared}.down_proj", hidden, always)
        if shared_gate:
            tensors += _linear("mlp.shared_expert_gate", 1, hidden)
        return Mlp(tensors=tensors, inner=visits * width + always, router=experts, routed=visits)

    return build


def _shared_experts(reader: Reader) -> int:
    return reader.size("moe_intermediate_size") * (reader.find("n_shared_experts") or 0)


def _after_dense(reader: Reader, layer: int) -> bool:
    """Sparse from a first few dense layers on."""
    first = reader.config.get("first_k_dense_replace", 0)
    return layer >= (first if isinstance(first, int) else 0)


def _by_step(reader: Reader, layer: int) -> bool:
    """Every so many layers, but for those that are named."""
    dense = reader.config.get("mlp_only_layers") or ()
    return layer not in dense and (layer + 1) % (reader.find("decoder_sparse_step") or 1) == 0


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
    return _fused(
        "self_attention.query_key_value",
        "self_attention.dense",
        bias="bias",
        groups=lambda r: r.heads if many else 1,
    )(reader)


def _cohere(reader: Reader) -> Attention:
    if reader.flag("use_qk_norm", False):
        raise UnknownArchitectureError("cohere with use_qk_norm is not counted")
    return _separate(qkv_bias="attention_bias", out_bias="attention_bias")(reader)


def _phi(reader: Reader) -> Attention:
    if reader.flag("qk_layernorm", False):
        raise UnknownArchitectureError("qk_layernorm is not counted")
    return _separate(qkv_bias=True, out_bias=True, out="dense")(reader)


def _stablelm(reader: Reader) -> Attention:
    if reader.flag("qk_layernorm", False) or reader.flag("use_parallel_residual", False):
        raise UnknownArchitectureError("qk_layernorm and use_parallel_residual are not counted")
    return _separate(qkv_bias="use_qkv_bias")(reader)


_FOUR_NORMS = (
    "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm",
)  # fmt: skip
_GLM_NORMS = (
    "input_layernorm", "post_attention_layernorm", "post_self_attn_layernorm", "post_mlp_layernorm",
)  # fmt: skip
_AFTER = ("post_attention_layernorm", "post_feedforward_layernorm")
_TRANSFORMER = {
    "layer": "transformer.h.{}",
    "final_norm": "transformer.ln_f",
    "rms": False,
    "norm_bias": True,
    "inner_tensors": 1,
}
_LLAMA = Family(
    attention=_separate(qkv_bias="attention_bias", out_bias="attention_bias"), mlp=_gated(bias="mlp_bias")
)
_MISTRAL = Family(attention=_separate(), mlp=_gated())
_DEEPSEEK = Family(
    attention=_latent,
    mlp=_gated(bias="mlp_bias"),
    sparse=_experts(shared="shared_experts", shared_inner=_shared_experts),
    is_sparse=_after_dense,
)
_GPT2 = Family(
    attention=_fused("attn.c_attn", "attn.c_proj", bias=True, conv1d=True, groups=lambda r: r.heads),
    mlp=_plain("mlp.c_fc", "mlp.c_proj", conv1d=True),
    norms=("ln_1", "ln_2"),
    embedding="transformer.wte",
    outside=_positions("transformer.wpe.weight"),
    tied=True,
    conv1d=True,
    **_TRANSFORMER,  # type: ignore[arg-type]
)
_GEMMA_ATTENTION = _separate(head_dim=256, qkv_bias="attention_bias", out_bias="attention_bias")

FAMILIES: dict[str, Family] = {
    "llama": _LLAMA,
    "granite": _LLAMA,
    "mistral": _MISTRAL,
    "helium": _LLAMA,
    "smollm3": Family(attention=_LLAMA.attention, mlp=_LLAMA.mlp, tied=True),
    "seed_oss": Family(
        attention=_separate(
            head_dim=128, qkv_bias="attention_bias", default_bias=True, out_bias="attention_out_bias"
        ),
        mlp=_gated(bias="mlp_bias"),
    ),
    "ernie4_5": Family(
        attention=_separate(head_dim=128, qkv_bias="use_bias", out_bias="use_bias"),
        mlp=_gated(bias="use_bias"),
        tied=True,
    ),
    "qwen2": Family(attention=_separate(qkv_bias=True), mlp=_gated()),
    "qwen2_moe": Family(
        attention=_separate(qkv_bias="qkv_bias", default_bias=True),
        mlp=_gated(),
        sparse=_experts(
            shared="shared_expert",
            shared_inner=lambda r: r.size("shared_expert_intermediate_size"),
            shared_gate=True,
        ),
        is_sparse=_by_step,
    ),
    "qwen3": Family(
        attention=_separate(
            head_dim=128, qkv_bias="attention_bias", out_bias="attention_bias", qk_norm="head"
        ),
        mlp=_gated(),
    ),
    "qwen3_moe": Family(
        attention=_separate(qkv_bias="attention_bias", out_bias="attention_bias", qk_norm="head"),
        mlp=_gated(),
        sparse=_experts(),
        is_sparse=_by_step,
    ),
    "mixtral": Family(attention=_separate(), mlp=_gated(), sparse=_experts(inner=("intermediate_size",))),
    "olmoe": Family(
        attention=_separate(qkv_bias="attention_bias", out_bias="attention_bias", qk_norm="full"),
        mlp=_gated(),
        sparse=_experts(inner=("intermediate_size",)),
    ),
    "gpt_oss": Family(
        attention=_separate(
            head_dim=64, qkv_bias="attention_bias", out_bias="attention_bias", default_bias=True, sinks=True
        ),
        mlp=_gated(),
        sparse=_experts(router="mlp.router", router_bias=True, inner=("intermediate_size",), biased=True),
        inner_tensors=5,  # clamps, and the factors of its own activation
    ),
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": Family(attention=_latent, mlp=_gated(), sparse=_DEEPSEEK.sparse, is_sparse=_after_dense),
    "glm4_moe": Family(
        attention=_separate(head_dim=None, qkv_bias="attention_bias", qk_norm="head", qk_flag="use_qk_norm"),
        mlp=_gated(),
        sparse=_experts(shared="shared_experts", shared_inner=_shared_experts),
        is_sparse=_after_dense,
    ),
    "gemma": Family(attention=_GEMMA_ATTENTION, mlp=_gated(), tied=True),
    "gemma2": Family(attention=_GEMMA_ATTENTION, mlp=_gated(), norms=_FOUR_NORMS, tied=True),
    "gemma3_text": Family(
        attention=_separate(
            head_dim=256, qkv_bias="attention_bias", out_bias="attention_bias", qk_norm="head"
        ),
        mlp=_gated(),
        norms=_FOUR_NORMS,
        tied=True,
    ),
    "glm": Family(
        attention=_separate(head_dim=128, qkv_bias="attention_bias", default_bias=True),
        mlp=_gated(fused="mlp.gate_up_proj"),
    ),
    "glm4": Family(
        attention=_separate(head_dim=128, qkv_bias="attention_bias", default_bias=True),
        mlp=_gated(fused="mlp.gate_up_proj"),
        norms=_GLM_NORMS,
    ),
    "chatglm": Family(
        attention=_fused(
            "self_attention.query_key_value",
            "self_attention.dense",
            bias="add_qkv_bias",
            out_bias="add_bias_linear",
            groups=lambda r: r.find("multi_query_group_num") or r.heads,
        ),
        mlp=_gated(fused="mlp.dense_h_to_4h", down="mlp.dense_4h_to_h", bias="add_bias_linear"),
        layer="transformer.encoder.layers.{}",
        embedding="transformer.embedding.word_embeddings",
        final_norm="transformer.encoder.final_layernorm",
        head="transformer.output_layer",
    ),
    "baichuan": Family(
        attention=_fused("self_attn.W_pack", "self_attn.o_proj", groups=lambda r: r.heads), mlp=_gated()
    ),
    "internlm2": Family(
        attention=_fused("attention.wqkv", "attention.wo", bias="bias"),
        mlp=_gated(gate=("feed_forward.w1", "feed_forward.w3"), down="feed_forward.w2"),
        norms=("attention_norm", "ffn_norm"),
        embedding="model.tok_embeddings",
        head="output",
    ),
    "phi3": Family(
        attention=_fused("self_attn.qkv_proj", "self_attn.o_proj"), mlp=_gated(fused="mlp.gate_up_proj")
    ),
    "phi": Family(
        attention=_phi,
        mlp=_plain("mlp.fc1", "mlp.fc2"),
        norms=("input_layernorm",),
        final_norm="model.final_layernorm",
        rms=False,
        norm_bias=True,
        inner_tensors=1,
        head_bias=True,
    ),
    "olmo": Family(
        attention=_separate(qkv_bias="attention_bias", out_bias="attention_bias"),
        mlp=_gated(),
        rms=False,
        norm_weight=False,
    ),
    "olmo2": Family(
        attention=_separate(qkv_bias="attention_bias", out_bias="attention_bias", qk_norm="full"),
        mlp=_gated(),
        norms=_AFTER,
    ),
    "exaone4": Family(attention=_separate(qk_norm="head"), mlp=_gated(), norms=_AFTER),
    "cohere": Family(attention=_cohere, mlp=_gated(), norms=("input_layernorm",), tied=True),
    "stablelm": Family(attention=_stablelm, mlp=_gated(), rms=False, norm_bias=True),
    "starcoder2": Family(
        attention=_separate(qkv_bias="use_bias", out_bias="use_bias", default_bias=True),
        mlp=_plain("mlp.c_fc", "mlp.c_proj", bias="use_bias"),
        rms=False,
        norm_bias=True,
        inner_tensors=1,
        tied=True,
    ),
    "gpt_neox": Family(
        attention=_fused(
            "attention.query_key_value",
            "attention.dense",
            bias="attention_bias",
            default_bias=True,
            groups=lambda r: r.heads,
        ),
        mlp=_plain("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        layer="gpt_neox.layers.{}",
        embedding="gpt_neox.embed_in",
        final_norm="gpt_neox.final_layer_norm",
        rms=False,
        norm_bias=True,
        inner_tensors=1,
    ),
    "gpt2": _GPT2,
    "gptj": Family(
        attention=_separate(out="out_proj", block="attn"),
        mlp=_plain("mlp.fc_in", "mlp.fc_out"),
        norms=("ln_1",),
        embedding="transformer.wte",
        head_bias=True,
        **_TRANSFORMER,  # type: ignore[arg-type]
    ),
    "opt": Family(
        attention=_separate(
            qkv_bias="enable_bias", out_bias="enable_bias", default_bias=True, out="out_proj"
        ),
        mlp=_plain("fc1", "fc2", bias="enable_bias"),
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
        attention=_fused(
            "self_attention.query_key_value", "self_attention.dense", bias=True, groups=lambda r: r.heads
        ),
        mlp=_plain("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        norms=("input_layernorm", "post_attention_layernorm"),
        embedding="transformer.word_embeddings",
        outside=_bloom_norm,
        tied=True,
        **_TRANSFORMER,  # type: ignore[arg-type]
    ),
    "falcon": Family(
        attention=_falcon,
        mlp=_plain("mlp.dense_h_to_4h", "mlp.dense_4h_to_h", bias="bias", default_bias=False),
        norms=("input_layernorm",),
        embedding="transformer.word_embeddings",
        tied=True,
        **_TRANSFORMER,  # type: ignore[arg-type]
    ),
}

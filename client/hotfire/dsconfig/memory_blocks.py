"""The blocks that architectures are made of: attention and feed-forward, with their weights' names and shapes.

Sources: `modeling_*.py` of transformers 5.23; `memory_families` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hotfire.dsconfig.memory_model import Reader

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


def _linear(name: str, out: int, width: int, *, bias: bool = False) -> Shapes:
    weight: Shapes = [(f"{name}.weight", (out, width))]
    return [*weight, (f"{name}.bias", (out,))] if bias else weight


# --- Attention --------------------------------------------------------------------------------------------


def separate(
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


def fused(
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


def latent(reader: Reader) -> Attention:
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


def gated(
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


def plain(
    up: str, down: str, *, bias: str | bool = True, default_bias: bool = True, conv1d: bool = False
) -> Callable[[Reader], Mlp]:
    """Up, an activation, down."""

    def build(reader: Reader) -> Mlp:
        hidden, inner = reader.hidden, _inner(reader)
        has = reader.flag(bias, default_bias) if isinstance(bias, str) else bias
        tensors = [*_linear(up, inner, hidden, bias=has), *_linear(down, hidden, inner, bias=has)]
        return Mlp(tensors=[(n, s[::-1]) for n, s in tensors] if conv1d else tensors, inner=inner)

    return build


def experts(
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


def shared_experts(reader: Reader) -> int:
    """Inner width of the experts that every token visits (DeepSeek)."""
    return reader.size("moe_intermediate_size") * (reader.find("n_shared_experts") or 0)


def after_dense(reader: Reader, layer: int) -> bool:
    """Sparse from a first few dense layers on."""
    first = reader.config.get("first_k_dense_replace", 0)
    return layer >= (first if isinstance(first, int) else 0)


def by_step(reader: Reader, layer: int) -> bool:
    """Every so many layers, but for those that are named."""
    dense = reader.config.get("mlp_only_layers") or ()
    return layer not in dense and (layer + 1) % (reader.find("decoder_sparse_step") or 1) == 0

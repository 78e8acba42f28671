"""What a slot can hold: an estimate from config.json, made before anything is loaded.

It errs on the large side. It is not the memory forecast of the target cluster (`hotfire.dsconfig.memory`); that judges
the job, this only keeps a worker from driving itself out of memory. Weights and activations of the architectures that
the forecast counts are counted by the same code; others are estimated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hotfire.dsconfig.memory_activations import activations_of, high
from hotfire.dsconfig.memory_model import UnknownArchitectureError, decoder_of, text_config
from hotfire.dsconfig.memory_setting import setting_of
from hotfire.dsconfig.memory_trainable import trained

GIB = 2**30
#: fp32 weight, gradient and Adam's two moments (16), and the reference's buckets. A reference of 135 M parameters was
#: measured at 3.15 GB a rank, 0.4 GB of it shared with the warm process.
_TRAINED_BYTES = 18
#: A frozen parameter: the weight, in fp32 at worst, and a cast copy.
_FROZEN_BYTES = 6
#: A LoRA adapter is far below this share of the model.
_ADAPTER_SHARE = 0.02
#: Activations of one token in one layer, in units of the hidden size, in bytes (fp32, flash-like attention).
_ACTIVATION_BYTES = 80
#: Logits of one token and vocabulary entry: logits, their fp32 copy, and the gradient.
_LOGIT_BYTES = 12
#: What a rank needs with an empty model.
_RANK_BYTES = 200 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Does it fit?"""

    needed_bytes: int
    """Of the whole model, all ranks, or of one GPU."""
    available_bytes: int
    max_num_layers: int | None
    """Fewer layers than the model has, if only those fit; None: no need to cut."""
    fits: bool
    """False: not even two layers fit."""

    @property
    def words(self) -> str:
        """The numbers, for one sentence."""
        return (
            f"about {self.needed_bytes / GIB:.1f} GiB are needed and {self.available_bytes / GIB:.1f} GiB are "
            "there"
        )


def num_layers_of(config: dict[str, Any]) -> int | None:
    """Layers, by whatever name."""
    return _first(text_config(config), "num_hidden_layers", "num_layers", "n_layer")


def count_parameters(config: dict[str, Any], num_layers: int | None = None) -> int | None:
    """Parameters of a model, counted or estimated by its widths; None where config.json does not tell.

    Args:
        config: config.json.
        num_layers: Count so many layers; default: all.
    """
    try:
        return decoder_of(config, num_layers=num_layers).num_parameters
    except UnknownArchitectureError:
        pass  # estimated as if it were a Llama
    config = text_config(config)
    hidden = _first(config, "hidden_size", "n_embd", "d_model")
    vocab = _first(config, "vocab_size", "padded_vocab_size")
    layers = num_layers if num_layers is not None else num_layers_of(config)
    if hidden is None or vocab is None or layers is None:
        return None
    inner = _first(config, "intermediate_size", "ffn_hidden_size", "n_inner") or 4 * hidden
    heads = _first(config, "num_attention_heads", "n_head") or 1
    groups = _first(config, "num_key_value_heads", "multi_query_group_num") or heads
    head_dim = _first(config, "head_dim", "kv_channels") or hidden // heads
    attention = hidden * head_dim * (2 * heads + 2 * groups)
    experts = _first(config, "num_local_experts", "num_experts", "n_routed_experts") or 1
    mlp = 3 * hidden * (_first(config, "moe_intermediate_size") or inner if experts > 1 else inner) * experts
    embeddings = vocab * hidden * (1 if config.get("tie_word_embeddings") else 2)
    return int(embeddings + layers * (attention + mlp + 4 * hidden))


def forecast(
    config: dict[str, Any],
    *,
    training: dict[str, Any],
    num_ranks: int,
    micro_batch_size: int,
    length: int,
    available_bytes: int,
    per_rank: bool = False,
    num_layers: int | None = None,
    num_parameters: int | None = None,
) -> Forecast | None:
    """Forecasts a trial.

    Args:
        config: The model's config.json; empty if it has none (GGUF).
        training: The job's arguments.
        num_ranks: Ranks of the trial.
        micro_batch_size: Rows of one micro-batch.
        length: Tokens of the longest row.
        available_bytes: Host memory of the slot, or memory of one GPU (`per_rank`).
        per_rank: `available_bytes` is for each rank by itself.
        num_layers: Layers that the spec asks for.
        num_parameters: Of the whole model, where config.json does not tell.

    Returns:
        None where nothing can be said.
    """
    layers = num_layers_of(config)
    if layers is not None and num_layers is not None:
        layers = min(layers, num_layers)
    micro = max(1, micro_batch_size)

    def needed(with_layers: int | None) -> int | None:
        parameters = count_parameters(config, with_layers)
        if parameters is None and (parameters := num_parameters) is None:
            return None
        of_rank = (
            _RANK_BYTES
            + _states(parameters, training)
            + _activations(config, training, micro, length, with_layers)
        )
        return int(of_rank * (1 if per_rank else num_ranks))

    whole = needed(layers)
    if whole is None:
        return None
    if whole <= available_bytes:
        return Forecast(needed_bytes=whole, available_bytes=available_bytes, max_num_layers=None, fits=True)
    fewer = [n for n in range(2, layers or 0) if (needed(n) or 0) <= available_bytes]
    return Forecast(
        needed_bytes=whole,
        available_bytes=available_bytes,
        max_num_layers=max(fewer, default=None),
        fits=bool(fewer),
    )


def _states(parameters: int, training: dict[str, Any]) -> float:
    if training.get("peft"):
        return parameters * (_FROZEN_BYTES + _ADAPTER_SHARE * _TRAINED_BYTES)
    return parameters * _TRAINED_BYTES


def _activations(
    config: dict[str, Any], training: dict[str, Any], micro: int, length: int, layers: int | None
) -> float:
    try:
        model = decoder_of(config, num_layers=layers)
        # In fp32, as the reference may be; what is frozen saves little.
        setting = setting_of({}, training, num_gpus=1, model_config=config)
        setting = replace(setting, dtype="fp32", micro_batch_size=micro)
        counted = activations_of(model, trained(model, {}), setting, length)
        return high(counted)
    except UnknownArchitectureError:
        pass
    config, tokens = text_config(config), micro * length
    hidden = _first(config, "hidden_size", "n_embd", "d_model") or 1024
    vocab = _first(config, "vocab_size", "padded_vocab_size") or 50_000
    # With checkpointing one layer's activations are alive, and every layer's input.
    full = 1 if training.get("gradient_checkpointing") else (layers or 24)
    return tokens * (hidden * (_ACTIVATION_BYTES * full + 4 * (layers or 24)) + _LOGIT_BYTES * vocab)


def _first(config: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None

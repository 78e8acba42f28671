"""What a forward pass keeps for the backward pass: the tensors that PyTorch saves in transformers' own layers.

Counted tensor by tensor from `modeling_llama.py` and its kin (transformers 5.23): a linear layer saves its input if
its weight is trained, a product both factors, an RMSNorm an fp32 copy of its input and what its weight multiplies,
the attention kernel q, k, v, the output and a logarithm for each head (softmax(QK) too where it is "eager").
Compare Korthikanti et al., Reducing Activation Recomputation (2022), equation 1, for GPT.
"""

from __future__ import annotations

from dataclasses import dataclass

from hotfire.dsconfig.memory_model import Decoder, LayerShape
from hotfire.dsconfig.memory_setting import Setting
from hotfire.dsconfig.memory_trainable import Trained

_FP32 = 4
#: Tensors that `gelu_new`, written out in Python, saves instead of one.
_PYTHON_GELU = 4
_LOW_SHARE = 0.8
"""The least that is expected, of what is counted: tensors that share memory, kernels that fuse."""
_HIGH_SHARE = 1.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Activations:
    """Bytes of one micro-batch on one rank."""

    layers: float
    """What all layers keep; under checkpointing their inputs and one layer in full."""
    logits: float
    """Logits, their fp32 copy, its logarithm and gradients, at their most."""

    @property
    def total(self) -> float:
        """At the beginning of the backward pass."""
        return self.layers + self.logits


def activations_of(model: Decoder, trained: Trained, setting: Setting, length: int) -> Activations:
    """The activations of a micro-batch of rows of one length.

    Args:
        model: The model.
        trained: What of it is trained.
        setting: Micro-batch, checkpointing, precision, attention kernel.
        length: Tokens of each row, padding included.
    """
    rows, width = setting.micro_batch_size, setting.width
    tokens = rows * length
    of_kind = [(kind, _layer(model, kind, trained, setting, length)) for kind in model.kinds]
    # Gradients of one layer's activations while it is gone through backwards.
    backward = max((width * (3 * kind.inner + 3 * model.hidden) for kind in model.kinds), default=0)
    if setting.checkpointing:
        layers = model.num_layers * model.hidden * width + max((each for _, each in of_kind), default=0.0)
    else:
        layers = sum(kind.num_layers * each for kind, each in of_kind)
        layers += width * setting.adapter_dropout * trained.adapted_width * 1.5
    mask = 0 if setting.attention == "flash" else length * width
    layers += backward + mask + _norm(model, trained, setting)
    return Activations(layers=tokens * layers, logits=tokens * _logits(model, setting))


def _layer(model: Decoder, kind: LayerShape, trained: Trained, setting: Setting, length: int) -> float:
    """Bytes of one layer for each token."""
    width = setting.width
    norms = model.norms * _norm(model, trained, setting)
    # Of grouped heads "eager" keeps the repeated keys and values; "sdpa" does so where rows are padded.
    repeats = setting.attention == "eager"
    key, value = (kind.query, kind.value_out) if repeats else (kind.key, kind.value)
    attention = width * (kind.query + key + value + kind.value_out + 2 * kind.latent) + _FP32 * model.heads
    attention += kind.latent * (_FP32 + width)
    if kind.normed:
        attention += kind.normed * (_FP32 + width * (not trained.is_frozen_base))
    if setting.attention == "eager":
        attention += model.heads * length * (_FP32 + (width if width != _FP32 else 0))
    per_inner = model.inner_tensors
    if model.config.get("activation_function", model.config.get("hidden_act")) == "gelu_new":
        per_inner = _PYTHON_GELU
    mlp = width * kind.inner * (per_inner + trained.kept_inner)
    routing = kind.router * 3 * _FP32 + 3 * kind.routed * model.hidden * width
    return norms + attention + mlp + routing


def _norm(model: Decoder, trained: Trained, setting: Setting) -> float:
    """Bytes of one normalisation for each token, with the output that linear layers keep."""
    is_trained, keeps = not trained.is_frozen_base, trained.kept_hidden
    if not model.rms:
        return model.hidden * setting.width * (1 + keeps)
    return model.hidden * (_FP32 + setting.width * (is_trained + keeps))


def _logits(model: Decoder, setting: Setting) -> float:
    """Bytes of the loss for each token: fp32 logarithm, its gradient, and that of the logits, and the logits."""
    if setting.fused_loss:
        return model.vocab * setting.width / 8
    smoothing = 2 * _FP32 if setting.smooths_labels else 0
    return model.vocab * (3 * _FP32 + setting.width + smoothing)


def low(activations: Activations) -> float:
    """The least to be expected."""
    return activations.total * _LOW_SHARE


def high(activations: Activations) -> float:
    """The most to be expected."""
    return activations.total * _HIGH_SHARE

"""A decoder as its config.json describes it: every weight's name and shape, and the widths that activations have.

Counted from the tables of `memory_families`; an architecture that is not there is not guessed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import prod
from typing import Any


class UnknownArchitectureError(ValueError):
    """Nothing can be counted; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """A weight that one or several layers have.

    Attributes:
        name: As in transformers, "{}" for the number of the layer.
        shape: As stored.
        layers: The layers that have it; empty: it stands outside the layers.
    """

    name: str
    shape: tuple[int, ...]
    layers: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Scalars of one."""
        return prod(self.shape)

    @property
    def num_scalars(self) -> int:
        """Scalars of all."""
        return self.size * max(1, len(self.layers))

    def names(self) -> Iterator[str]:
        """The name in every layer."""
        if not self.layers:
            yield self.name
        for layer in self.layers:
            yield self.name.replace("{}", str(layer))


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerShape:
    """Widths of one layer's activations, in elements for each token."""

    num_layers: int
    """Layers of this kind."""
    query: int
    """Width of all query heads together; of the attention's output, `value_out`."""
    key: int
    """Width of all key heads as the attention kernel reads them."""
    value: int
    value_out: int
    normed: int = 0
    """Width of the queries and keys that are normalised by themselves."""
    latent: int = 0
    """Width of what lies between low-rank projections (multi-head latent attention)."""
    inner: int = 0
    """Width of the MLP's hidden activations; of a sparse layer: over all experts that one token visits."""
    router: int = 0
    """Experts to choose from."""
    routed: int = 0
    """Copies of the token that go to experts."""
    largest: int = 0
    """Scalars of the layer's weights."""


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A causal language model."""

    model_type: str
    hidden: int
    vocab: int
    heads: int
    tensors: tuple[Tensor, ...]
    kinds: tuple[LayerShape, ...]
    norms: int
    """Normalisations of the hidden state in one layer."""
    rms: bool
    """Normalisation is written out in fp32, as RMSNorm is, and no kernel of PyTorch's."""
    inner_tensors: int
    """Tensors of the MLP's inner width that are kept, besides the input of its last layer."""
    embedding: str
    """Name of the input embedding's module."""
    head: str
    """Name of the output head's module."""
    tied: bool
    conv1d: bool = False
    """Linear weights are stored transposed (GPT-2)."""
    config: dict[str, Any] = field(default_factory=dict, hash=False, compare=False)

    @cached_property
    def num_layers(self) -> int:
        """All layers."""
        return sum(kind.num_layers for kind in self.kinds)

    @cached_property
    def num_parameters(self) -> int:
        """Scalars of the whole model; a tied head counts once."""
        return sum(tensor.num_scalars for tensor in self.tensors)

    @cached_property
    def largest_layer(self) -> int:
        """Scalars of the largest layer: what ZeRO-3 gathers at the least."""
        return max([kind.largest for kind in self.kinds] + [self.largest_tensor])

    @cached_property
    def by_size(self) -> tuple[tuple[int, int], ...]:
        """(scalars of one, scalars of all) of every weight."""
        return tuple((tensor.size, tensor.num_scalars) for tensor in self.tensors)

    @cached_property
    def largest_tensor(self) -> int:
        """Scalars of the largest weight, often the embedding."""
        return max(tensor.size for tensor in self.tensors)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads sizes of a config.json under any of their names."""

    config: dict[str, Any]

    def find(self, *names: str) -> int | None:
        """The first of these that is a positive whole number."""
        for name in names:
            value = self.config.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
        return None

    def size(self, *names: str) -> int:
        """The same, required.

        Raises:
            UnknownArchitectureError: None of them is there.
        """
        value = self.find(*names)
        if value is None:
            raise UnknownArchitectureError(f"config.json has no {names[0]}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """A yes or no."""
        value = self.config.get(name)
        return value if isinstance(value, bool) else default

    @property
    def hidden(self) -> int:
        """Width of the hidden state."""
        return self.size("hidden_size", "n_embd", "d_model")

    @property
    def layers(self) -> int:
        """Number of layers."""
        return self.size("num_hidden_layers", "num_layers", "n_layer")

    @property
    def heads(self) -> int:
        """Number of query heads."""
        return self.size("num_attention_heads", "n_head")


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The language model's part of a config.json."""
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else config


def decoder_of(config: dict[str, Any], *, num_layers: int | None = None) -> Decoder:
    """Counts a model.

    Args:
        config: config.json.
        num_layers: Only so many layers; None: all.

    Raises:
        UnknownArchitectureError: It is no architecture of the table, or has parts beyond a text decoder.
    """
    from hotfire.dsconfig.memory_families import FAMILIES

    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise UnknownArchitectureError("config.json has no model_type")
    extra = sorted(k for k in config if k.endswith(("vision_config", "audio_config")) and config[k])
    if extra:
        raise UnknownArchitectureError(
            f"{kind} has parts beyond a text decoder ({', '.join(extra)}), which are not counted"
        )
    if kind not in FAMILIES:
        raise UnknownArchitectureError(
            f"the architecture {kind!r} is not in the table of those that are counted"
        )
    return _built(kind, json.dumps(config, sort_keys=True, default=str), num_layers)


@lru_cache(maxsize=64)
def _built(kind: str, config: str, num_layers: int | None) -> Decoder:
    """One model is asked about many times: by two rules, the report, and the next request."""
    from hotfire.dsconfig.memory_families import FAMILIES

    return FAMILIES[kind].build(Reader(text_config(json.loads(config))), num_layers)

"""What a model without memory shows of itself: tied weights, layers that an adapter can name, positions."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from typing import Any

from torch import nn

from hotfire.rules.evidence import ModelFacts

_POSITIONS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "n_ctx",
)
_NO_LIMIT = ("bloom", "mpt", "t5")
"""Model types that add a bias by distance (ALiBi) or count distances in buckets."""
_STRETCHED = ("linear", "dynamic", "yarn")
"""Kinds of rope scaling whose factor is not in max_position_embeddings already."""


def structure_facts(facts: ModelFacts, model: nn.Module, peft: dict[str, Any] | None) -> None:
    """Fills in what the bare model (before any adapter) shows.

    Args:
        facts: To fill in.
        model: On the meta device.
        peft: The job's adapter, if it has one.
    """
    names = {id(module): name for name, module in model.named_modules()}
    embedding, head = _embedding(model), _head(model)
    facts.embedding_module, facts.head_module = names.get(id(embedding)), names.get(id(head))
    facts.tied_embeddings = embedding is not None and head is not None and embedding.weight is head.weight
    linear = [name for name, module in model.named_modules() if is_linear(module) and module is not head]
    facts.linear_modules = dict(Counter(name.rpartition(".")[2] for name in linear))
    facts.moe_modules = sorted({type(m).__name__ for m in model.modules() if hasattr(m, "experts")})
    facts.positions = _kind_of_positions(model, facts)
    if peft:
        facts.target_matches = _matches(model, peft, num_linear=len(linear))
        facts.adapted_sides = _adapted_sides(facts, peft)
        facts.ties_adapters = _peft_knows("ensure_weight_tying")


def max_positions(config: dict[str, Any]) -> int | None:
    """Longest row that the model was made for, rope scaling included; None where config.json does not say."""
    parts = [config, *(p for p in (config.get("text_config"),) if isinstance(p, dict))]
    for part in parts:
        given = next((v for name in _POSITIONS if isinstance(v := part.get(name), int) and v > 0), None)
        if given is not None:
            return max([given, *(int(n) for n in _stretched(part, given))])
    return None


def is_linear(module: nn.Module) -> bool:
    """A layer that an adapter can wrap: a linear one, or GPT-2's transposed one."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _stretched(part: dict[str, Any], given: int) -> list[float]:
    """Lengths that rope scaling reaches. It may stand there once, or once for every kind of layer."""
    found = []
    for key in ("rope_scaling", "rope_parameters"):
        value = part.get(key)
        if not isinstance(value, dict):
            continue
        for entry in (value, *(v for v in value.values() if isinstance(v, dict))):
            kind, factor = entry.get("rope_type") or entry.get("type"), entry.get("factor")
            if kind in _STRETCHED and isinstance(factor, int | float) and factor > 1:
                found.append((entry.get("original_max_position_embeddings") or given) * factor)
    return found


def _embedding(model: nn.Module) -> Any:
    try:
        return model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None


def _head(model: nn.Module) -> Any:
    try:
        return model.get_output_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None


def _kind_of_positions(model: nn.Module, facts: ModelFacts) -> str | None:
    config = facts.config
    if facts.model_type in _NO_LIMIT or config.get("alibi") or config.get("use_alibi"):
        return "relative"
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and re.search(r"wpe$|position", name.rpartition(".")[2]):
            return "learned"
    if any("rotary" in type(module).__name__.lower() for module in model.modules()):
        return "rotary"
    return None


def _matches(model: nn.Module, peft: dict[str, Any], *, num_linear: int) -> dict[str, int]:
    """Entry of `target_modules` and `modules_to_save` -> how many modules it names, as PEFT matches them."""
    names = [name for name, _ in model.named_modules()]
    targets, saved = peft.get("target_modules"), peft.get("modules_to_save")
    found: dict[str, int] = {}
    if targets == "all-linear":
        found["all-linear"] = num_linear
    elif isinstance(targets, str):
        try:
            found[targets] = sum(re.fullmatch(targets, name) is not None for name in names)
        except re.error:
            found[targets] = 0
        targets = None
    for entries in (targets, saved):
        if isinstance(entries, list | tuple):
            for entry in map(str, entries):
                found[entry] = sum(name == entry or name.endswith(f".{entry}") for name in names)
    return found


def _adapted_sides(facts: ModelFacts, peft: dict[str, Any]) -> list[str]:
    """Which of the input embedding and the output head the adapter trains."""
    if peft.get("trainable_token_indices"):
        return ["embedding", "head"] if facts.tied_embeddings else ["embedding"]
    sides = [
        side
        for side, name in (("embedding", facts.embedding_module), ("head", facts.head_module))
        if name is not None and _names(peft, name)
    ]
    return ["embedding", "head"] if sides and peft.get("ensure_weight_tying") else sides


def _names(peft: dict[str, Any], module: str) -> bool:
    targets = peft.get("target_modules")
    if isinstance(targets, str) and targets != "all-linear":
        try:
            if re.fullmatch(targets, module):
                return True
        except re.error:
            pass
        targets = None
    entries = [*(targets if isinstance(targets, list | tuple) else []), *(peft.get("modules_to_save") or [])]
    return any(module == entry or module.endswith(f".{entry}") for entry in entries)


def _peft_knows(argument: str) -> bool:
    from peft import LoraConfig

    return argument in inspect.signature(LoraConfig).parameters

"""How much of a model is trained: all of it, what `trainable` and `frozen` leave, or an adapter's weights.

Sources: `peft/tuners/lora/{config,layer}.py` (peft 0.21): a matrix of r x in and one of out x r for each target;
`peft/utils/constants.py` for the targets where none are named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hotfire.dsconfig.batch_size import number
from hotfire.dsconfig.memory_model import Decoder, Tensor, UnknownArchitectureError

_QV = ("q_proj", "v_proj")
_FUSED = ("query_key_value",)
#: What PEFT adapts where `target_modules` is not given.
_DEFAULT_TARGETS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "opt", "gptj", "cohere"),
        _QV,
    ),
    **dict.fromkeys(("gpt_neox", "bloom", "falcon", "chatglm"), _FUSED),
    "gpt2": ("c_attn",),
    "phi": ("q_proj", "v_proj", "fc1", "fc2"),
    "phi3": ("qkv_proj",),
    "stablelm": _QV,
    "starcoder2": _QV,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """The model's scalars, and which of them are trained."""

    total: int
    """With the adapter's own."""
    trainable: int
    adapter: int = 0
    """Scalars that an adapter adds."""
    adapter_inputs: int = 0
    """Elements for each token that adapters keep for the backward pass, over all layers."""
    adapted_width: int = 0
    """Widths of the inputs of all adapted layers together: what dropout before an adapter copies."""
    kept_hidden: float = 1.0
    """Share of the normalised hidden states that a trained layer reads, and so keeps."""
    kept_inner: float = 1.0
    """The same of the MLP's hidden activations."""

    @property
    def frozen(self) -> int:
        """What is not trained."""
        return self.total - self.trainable

    @property
    def is_frozen_base(self) -> bool:
        """Most of the model is not trained: no gradient of its weights is needed."""
        return self.trainable < self.total / 2


def trained(model: Decoder, training: dict[str, Any]) -> Trained:
    """Counts what is trained.

    Args:
        model: The model.
        training: `peft`, `trainable` and `frozen` of it; patterns are searched in the names of weights.

    Raises:
        UnknownArchitectureError: An adapter that is not counted, or a pattern that is no regular expression.
    """
    only, never = _patterns(training, "trainable"), _patterns(training, "frozen")
    peft = training.get("peft")
    if isinstance(peft, dict) and peft:
        return _adapted(model, peft, only, never)
    total = model.num_parameters
    if not only and not never:
        return Trained(total=total, trainable=total)
    trainable = sum(
        tensor.size
        for tensor in model.tensors
        for name in tensor.names()
        if (not only or _any(only, name)) and not _any(never, name)
    )
    share = trainable / total
    return Trained(total=total, trainable=trainable, kept_hidden=share, kept_inner=share)


def _adapted(
    model: Decoder, peft: dict[str, Any], only: list[re.Pattern[str]], never: list[re.Pattern[str]]
) -> Trained:
    kind = str(peft.get("peft_type", "LORA")).upper()
    if kind != "LORA":
        raise UnknownArchitectureError(f"an adapter of type {kind} is not counted")
    rank = number(peft.get("r"))
    r = 8 if rank is None else int(rank)
    patterns = peft.get("rank_pattern") if isinstance(peft.get("rank_pattern"), dict) else {}
    extra = 1 if peft.get("use_dora") else 0
    adapter = trainable = inputs = widths = 0
    reads: set[str] = set()
    for tensor, name in _targets(model, peft):
        own = next((int(v) for k, v in (patterns or {}).items() if _ends(name, str(k))), r)
        size, width = _adapter_size(tensor, own, conv1d=model.conv1d)
        size += extra * (sum(tensor.shape[-2:]) - width)
        adapter += size
        inputs += own
        widths += width
        reads.add(
            "inner" if width != model.hidden else "attn" if "attn" in name or "attention" in name else "mlp"
        )
        if not _any(never, f"{name}.lora_A.weight"):
            trainable += size
    saved = peft.get("modules_to_save") or []
    entries = [saved] if isinstance(saved, str) else [str(entry) for entry in saved]
    copied = sum(
        tensor.size
        for tensor in model.tensors
        for name in tensor.names()
        if any(_ends(name.rpartition(".")[0], entry) for entry in entries)
    )
    if model.tied and any(_ends(model.head, entry) for entry in entries):
        copied += model.vocab * model.hidden
    base = sum(
        tensor.size
        for tensor in model.tensors
        for name in tensor.names()
        if (_any(only, name) or _is_bias(peft, name)) and not _any(never, name)
    )
    return Trained(
        total=model.num_parameters + adapter + copied,
        trainable=trainable + copied + base,
        adapter=adapter + copied,
        adapter_inputs=inputs,
        adapted_width=widths,
        kept_hidden=(("attn" in reads) + ("mlp" in reads)) / 2,
        kept_inner=float("inner" in reads),
    )


def _adapter_size(tensor: Tensor, r: int, *, conv1d: bool) -> tuple[int, int]:
    """(scalars of the adapter of one weight, width of its input)."""
    if len(tensor.shape) == 3:
        # peft 0.21 with transformers 5: one adapter for each expert, of twice the rank where two are in one.
        experts, out, width = tensor.shape
        return experts * r * (2 if "gate_up" in tensor.name else 1) * (out + width), width
    out, width = tensor.shape[::-1] if conv1d else tensor.shape
    return r * (out + width), width


def _is_bias(peft: dict[str, Any], name: str) -> bool:
    return peft.get("bias") == "all" and name.endswith(".bias")


def _targets(model: Decoder, peft: dict[str, Any]) -> Iterator[tuple[Tensor, str]]:
    """(weight, name of its module) of every linear layer that is adapted."""
    targets = peft.get("target_modules")
    if targets is None:
        targets = _DEFAULT_TARGETS.get(model.model_type)
        if targets is None:
            raise UnknownArchitectureError(
                f"peft.target_modules is not given, and what PEFT adapts in {model.model_type!r} is not known here"
            )
    excluded = peft.get("exclude_modules") or []
    only = peft.get("layers_to_transform")
    numbers = None if only is None else {only} if isinstance(only, int) else set(only)
    pattern = _compiled(targets) if isinstance(targets, str) and targets != "all-linear" else None
    for tensor in model.tensors:
        is_experts = len(tensor.shape) == 3
        if len(tensor.shape) != 2 and not is_experts:
            continue
        if targets == "all-linear" and not tensor.layers:
            continue
        for layer, name in zip(tensor.layers or (None,), tensor.names(), strict=True):
            at = name if is_experts else name.removesuffix(".weight")
            if numbers is not None and layer not in numbers:
                continue
            if pattern is not None and not pattern.fullmatch(at):
                continue
            if pattern is None and targets != "all-linear" and not any(_ends(at, str(t)) for t in targets):
                continue
            if isinstance(excluded, str):
                if _compiled(excluded).fullmatch(at):
                    continue
            elif any(_ends(at, str(entry)) for entry in excluded):
                continue
            yield tensor, at


def _ends(module: str, target: str) -> bool:
    return module == target or module.endswith(f".{target}")


def _patterns(training: dict[str, Any], key: str) -> list[re.Pattern[str]]:
    value = training.get(key) or []
    return [_compiled(str(p)) for p in ([value] if isinstance(value, str) else value)]


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error:
        raise UnknownArchitectureError(f"{pattern!r} is no regular expression") from None


def _any(patterns: list[re.Pattern[str]], name: str) -> bool:
    return any(p.search(name) for p in patterns)

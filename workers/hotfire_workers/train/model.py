"""The job's model in a rank: loaded from its folder, and made trainable as the job says."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from hotfire_workers.train.errors import UnreadableModelError, one_line
from hotfire_workers.train.folder import ModelFolder, open_folder, quiet_libraries

_ADAPTER_PARTS = re.compile(r"(^base_model\.model\.)|(\.base_layer(?=\.))|(\.modules_to_save\.[^.]+(?=\.))")


def load_model(
    model: dict[str, Any],
    training: dict[str, Any],
    *,
    dtype: torch.dtype | None = None,
    allow_remote_code: bool = False,
) -> nn.Module:
    """Loads the causal language model.

    Args:
        model: {"path": folder or GGUF file, "trust_remote_code": bool, ...} as in `TrialRequest.model`.
        training: The training arguments; `attn_implementation` is passed on.
        dtype: Type of the weights; None: whatever `from_pretrained` does by itself.
        allow_remote_code: Whether code from the folder may run (`model` must ask for it too).

    Returns:
        The model as `from_pretrained` leaves it (eval mode, use_cache as configured).

    Raises:
        UnreadableModelError: It does not load; the text names the reason.
        BlockedModelError: It needs remote code and that is not allowed.
    """
    folder = open_folder(model, allow_remote_code=allow_remote_code)
    arguments = folder.load_arguments()
    if not folder.gguf:
        arguments["use_safetensors"] = True
    if training.get("attn_implementation"):
        arguments["attn_implementation"] = training["attn_implementation"]
    if dtype is not None:
        arguments[dtype_argument()] = dtype
    return from_pretrained(folder, **arguments)


def from_pretrained(folder: ModelFolder, **arguments: Any) -> nn.Module:
    """`AutoModelForCausalLM.from_pretrained` with errors that say what to do."""
    from transformers import AutoModelForCausalLM

    if folder.gguf:
        arguments |= _dequantise()
    try:
        with quiet_libraries(), folder.quick_gguf():
            return AutoModelForCausalLM.from_pretrained(folder.location, **arguments)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise UnreadableModelError(f"The weights of {folder.name} do not load: {one_line(error)}") from error


def dtype_argument() -> str:
    """Name of the argument for the weights' type: `dtype`, before transformers 4.56 `torch_dtype`."""
    import transformers

    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


def _dequantise() -> dict[str, Any]:
    """Transformers 5 can keep GGUF weights packed on a GPU, where they cannot be trained: ask for plain."""
    import transformers

    config = getattr(transformers, "GgufConfig", None)
    if config is None or "dequantize" not in inspect.signature(config).parameters:
        return {}
    return {"quantization_config": config(dequantize=True)}


def set_trainable(model: nn.Module, training: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """Applies `peft`, `trainable`, `frozen` and `enable_input_require_grads`.

    `trainable` and `frozen` are regular expressions, searched in parameter names (without adapter wrapping).
    With `trainable` and no adapter everything else is frozen; with an adapter its patterns are trained
    besides. `frozen` has the last word.

    Args:
        model: A model, on any device (the meta device too).
        training: The training arguments.

    Returns:
        The model (wrapped, if there is an adapter) and a report: `num_parameters`, `num_trainable` (scalars),
        `num_trainable_tensors`, `unmatched_patterns`, `peft`.

    Raises:
        ValueError: A pattern is no regular expression, or PEFT refuses its config.
    """
    unmatched: list[str] = []
    peft = training.get("peft")
    if peft:
        unmatched += unmatched_targets(model, peft)
        model = _with_adapter(model, peft)
    unmatched += _apply_patterns(model, training, has_adapter=bool(peft))
    _set_input_gradients(model, training.get("enable_input_require_grads"))
    report = count_parameters(model)
    return model, {**report, "unmatched_patterns": unmatched, "peft": bool(peft)}


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Scalars and tensors, also of a model that ZeRO-3 has split (`ds_numel`)."""
    parameters = list(model.parameters())
    sizes = [getattr(p, "ds_numel", p.numel()) for p in parameters]
    return {
        "num_parameters": sum(sizes),
        "num_trainable": sum(n for n, p in zip(sizes, parameters, strict=True) if p.requires_grad),
        "num_trainable_tensors": sum(p.requires_grad for p in parameters),
    }


def unmatched_targets(model: nn.Module, peft: dict[str, Any]) -> list[str]:
    """Entries of PEFT's `target_modules` and `modules_to_save` that are no module of this model."""
    names = [name for name, _ in model.named_modules()]
    targets = peft.get("target_modules")
    missing = [] if targets != "all-linear" else ["all-linear"] if not _any_linear(model) else []
    if isinstance(targets, str) and targets != "all-linear":
        missing += _unmatched_regex(targets, names)
    elif isinstance(targets, Iterable) and not isinstance(targets, str):
        missing += [str(t) for t in targets if not _is_module(str(t), names)]
    saved = peft.get("modules_to_save")
    missing += [str(m) for m in saved or [] if not isinstance(saved, str) and not _is_module(str(m), names)]
    return missing


def _any_linear(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Linear) for module in model.modules())


def _unmatched_regex(pattern: str, names: list[str]) -> list[str]:
    return (
        [] if any(_compiled(pattern, "peft.target_modules").fullmatch(name) for name in names) else [pattern]
    )


def _is_module(target: str, names: list[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for name in names)


def _with_adapter(model: nn.Module, peft: dict[str, Any]) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    known = inspect.signature(LoraConfig).parameters
    arguments = {k: v for k, v in peft.items() if k != "peft_type"}
    if unknown := sorted(set(arguments) - set(known)):
        raise ValueError(f"training.peft has names that LoraConfig does not know: {', '.join(unknown)}")
    if str(peft.get("peft_type", "LORA")).upper() != "LORA":
        raise ValueError(f"training.peft.peft_type {peft['peft_type']!r}: only LORA can be run")
    arguments.setdefault("task_type", "CAUSAL_LM")
    try:
        with quiet_libraries():
            return get_peft_model(model, LoraConfig(**arguments))
    except (TypeError, ValueError) as error:
        raise ValueError(f"PEFT refuses training.peft: {one_line(error)}") from error


def _apply_patterns(model: nn.Module, training: dict[str, Any], *, has_adapter: bool) -> list[str]:
    unmatched = []
    named = {
        _ADAPTER_PARTS.sub("", name): parameter
        for name, parameter in model.named_parameters()
        if ".original_module." not in name  # PEFT's untouched copy of a module that is trained
    }
    if training.get("trainable") and not has_adapter:
        model.requires_grad_(False)
    for field, value in (("trainable", True), ("frozen", False)):
        for pattern in training.get(field) or []:
            found = [p for name, p in named.items() if _compiled(pattern, f"training.{field}").search(name)]
            for parameter in found:
                parameter.requires_grad_(value)
            if not found:
                unmatched.append(pattern)
    return unmatched


def _compiled(pattern: str, field: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{field}: {pattern!r} is not a regular expression ({error})") from error


def _set_input_gradients(model: nn.Module, enable: bool | None) -> None:
    """None: whatever the libraries do. True: the embeddings' output needs a gradient. False: it never does.

    transformers (`gradient_checkpointing_enable`) and PEFT ask for it by themselves: False must prevent that.
    """
    if enable is None:
        return
    if enable:
        model.enable_input_require_grads()
        return
    for module in model.modules():
        if hasattr(module, "enable_input_require_grads"):
            if hasattr(module, "disable_input_require_grads"):
                module.disable_input_require_grads()
            module.enable_input_require_grads = _leave_inputs_alone


def _leave_inputs_alone() -> None:
    """Takes the place of `enable_input_require_grads` where the job forbids it."""

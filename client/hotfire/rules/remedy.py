"""Patches that several rules propose, on the spec document {deepspeed, training, data, model, cluster}."""

from __future__ import annotations

from typing import Any

from hotfire.patch import get_pointer, split_pointer
from hotfire.rules.evidence import Evidence, Fix, PatchOperation

_ABSENT = object()
#: GPUs before Ampere: no bf16 arithmetic.
_NO_BF16_GPUS = ("V100", "T4", "P100", "P40", "TITAN", "2080", "1080", "GTX", "RTX 20", "QUADRO RTX")


def document(evidence: Evidence) -> dict[str, Any]:
    """The spec document; where the caller gave none, what the other parts of the evidence say of it."""
    if evidence.spec:
        return evidence.spec
    return {
        "deepspeed": (evidence.config.given if evidence.config else None) or {},
        "training": evidence.training or {},
        "data": {},
        "model": {},
        "cluster": {},
    }


def given(evidence: Evidence, path: str) -> Any:
    """The value at a JSON pointer of the spec document; None where it is absent."""
    return get_pointer(document(evidence), path)


def has(evidence: Evidence, path: str) -> bool:
    """Whether the spec document has the key at a JSON pointer."""
    return get_pointer(document(evidence), path, _ABSENT) is not _ABSENT


def set_value(evidence: Evidence, path: str, value: Any) -> PatchOperation:
    """`replace` where the key was given, `add` where it was not."""
    return PatchOperation(op="replace" if has(evidence, path) else "add", path=path, value=value)


def remove(path: str) -> PatchOperation:
    """`remove` of a key that is there."""
    return PatchOperation(op="remove", path=path)


def is_literal(evidence: Evidence, path: str) -> bool:
    """The key is given with a value of its own, that is, other than "auto"."""
    value = given(evidence, path)
    return value is not None and value != "auto"


def describe_patch(patch: list[PatchOperation]) -> str:
    """A patch in a few words, for one sentence: "max_length 512", "without fp16.loss_scale"."""
    parts: list[str] = []
    for operation in patch:
        keys = split_pointer(operation.path)
        name = ".".join(keys[1:] if len(keys) > 1 else keys)
        if operation.op == "remove":
            parts.append(f"without {name}")
        else:
            parts.append(f"{name} {_value_words(operation.value)}")
    return ", ".join(parts)


def with_patch(patch: list[PatchOperation]) -> str:
    """The same as the beginning of a clause: "with max_length 512", "without fp16.loss_scale"."""
    words = describe_patch(patch)
    return words if words.startswith("without ") else f"with {words}"


def _value_words(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_value_words(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def bf16_instead(evidence: Evidence) -> Fix | None:
    """bf16 in place of fp16, in the config and in the arguments; None where the target GPU has no bf16."""
    gpu = ((evidence.cluster.gpu_type if evidence.cluster else None) or "").upper()
    if any(name in gpu for name in _NO_BF16_GPUS):
        return None
    patch: list[PatchOperation] = []
    if has(evidence, "/deepspeed/fp16"):
        if given(evidence, "/deepspeed/fp16/enabled") != "auto":
            patch.append(set_value(evidence, "/deepspeed/fp16/enabled", False))
        if given(evidence, "/deepspeed/bf16/enabled") != "auto":
            patch.append(set_value(evidence, "/deepspeed/bf16/enabled", True))
    if given(evidence, "/training/fp16"):
        patch.append(set_value(evidence, "/training/fp16", False))
        patch.append(set_value(evidence, "/training/bf16", True))
    if not patch:
        return None
    return Fix(description="Train in bf16: its range is that of fp32, so nothing overflows.", patch=patch)


def input_gradients(evidence: Evidence) -> list[Fix]:
    """The two cures of checkpointed blocks that no gradient reaches; the first fits every ZeRO stage."""
    kwargs = given(evidence, "/training/gradient_checkpointing_kwargs") or {}
    return [
        Fix(
            description="Let the embedding's output require a gradient, so that the checkpointed blocks "
            "have a graph.",
            patch=[set_value(evidence, "/training/enable_input_require_grads", True)],
        ),
        Fix(
            description="Use non-reentrant checkpointing (not under stage 3 with PEFT on DeepSpeed versions "
            "where that breaks).",
            patch=[
                set_value(
                    evidence,
                    "/training/gradient_checkpointing_kwargs",
                    {**kwargs, "use_reentrant": False},
                )
            ],
        ),
    ]


def learning_rate(evidence: Evidence, rate: float) -> Fix:
    """Another peak learning rate, wherever the spec gives one."""
    patch: list[PatchOperation] = []
    for path in (
        "/deepspeed/optimizer/params/lr",
        "/deepspeed/scheduler/params/warmup_max_lr",
        "/training/learning_rate",
    ):
        if is_literal(evidence, path):
            patch.append(set_value(evidence, path, rate))
    if not patch:
        patch.append(set_value(evidence, "/training/learning_rate", rate))
    return Fix(description=f"Use a peak learning rate of {rate:g}.", patch=patch)


def smaller_micro_batch(evidence: Evidence, micro: int, accumulation: int) -> Fix:
    """Half the micro-batch, twice the accumulation: the same optimizer step with less memory."""
    new_micro, new_accumulation = micro // 2, accumulation * 2
    patch = [
        set_value(evidence, "/training/per_device_train_batch_size", new_micro),
        set_value(evidence, "/training/gradient_accumulation_steps", new_accumulation),
    ]
    for key, value in (
        ("train_micro_batch_size_per_gpu", new_micro),
        ("gradient_accumulation_steps", new_accumulation),
    ):
        if is_literal(evidence, f"/deepspeed/{key}"):
            patch.append(set_value(evidence, f"/deepspeed/{key}", value))
    return Fix(
        description=f"Micro-batch {new_micro} with accumulation {new_accumulation}: the same optimizer step, "
        "fewer activations at once.",
        patch=patch,
    )

"""What stands between the submitted config and one that may work: as changes, by section, by key, by value."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from hotfire.dsconfig.schema import lookup
from hotfire.dsconfig.versions import parse
from hotfire.patch import diff, get_pointer, join_pointer, split_pointer
from hotfire.rules.evidence import PatchOperation

Patch = list[PatchOperation]

_ROOT = "/deepspeed"
_BATCH = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
_RECIPE = ("gradient_clipping", "optimizer")
_PRECISIONS = ("fp16", "bf16", "bfloat16")
#: Training argument that must say the same as the config's section.
_MIRRORS = {"fp16": "/training/fp16", "bf16": "/training/bf16", "bfloat16": "/training/bf16"}


def working_configs(
    document: Mapping[str, Any], reference: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Configs at the submitted stage that may train, the nearest to the submitted one first, with what they are.

    Args:
        document: The spec document.
        reference: The config that the user named as one that trains.
    """
    given = document.get("deepspeed") or {}
    if reference:
        yield "the config named as reference", copy.deepcopy(dict(reference))
    yield (
        "the stage with precision, batch sizes, optimizer and clipping",
        _least(given, (*_BATCH, *_RECIPE), precision=True),
    )
    if any(name in given for name in _RECIPE):
        yield "the stage with precision and batch sizes", _least(given, _BATCH, precision=True)
    if any((given.get(name) or {}).get("enabled") for name in _PRECISIONS if _is_section(given.get(name))):
        yield "the stage with batch sizes, in fp32", _least(given, _BATCH, precision=False)


def _least(given: Mapping[str, Any], kept: tuple[str, ...], *, precision: bool) -> dict[str, Any]:
    config = {key: copy.deepcopy(given[key]) for key in kept if key in given}
    for name in _PRECISIONS:
        section = given.get(name)
        if precision and _is_section(section) and "enabled" in section:
            config[name] = {"enabled": section["enabled"]}
    zero = given.get("zero_optimization")
    if _is_section(zero):
        config["zero_optimization"] = {"stage": zero.get("stage", 0)}
    return config


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping)


def differences(document: Mapping[str, Any], working: Mapping[str, Any]) -> tuple[Patch, list[str]]:
    """The changes from the submitted config to one that may work.

    Args:
        document: The spec document.
        working: The other config.

    Returns:
        The changes, and the pointers of keys that differ by name only, because they stand at DeepSpeed's default.
    """
    version = ((document.get("cluster") or {}).get("versions") or {}).get("deepspeed")
    changes, idle = [], []
    for operation in diff(document.get("deepspeed") or {}, working, _ROOT):
        if _changes_nothing(document, operation, version):
            idle.append(operation.path)
        else:
            changes.append(operation)
    return changes, idle


def _changes_nothing(document: Mapping[str, Any], operation: PatchOperation, version: str | None) -> bool:
    key = lookup(operation.path.removeprefix(_ROOT))
    if operation.op != "remove" or key is None or key.section is not None:
        return False
    value, default = get_pointer(document, operation.path), key.default_at(parse(version))
    return default is not None and type(value) is type(default) and value == default


def by_section(changes: Patch) -> list[Patch]:
    """The changes of each section of the config together."""
    sections: dict[str, Patch] = {}
    for operation in changes:
        sections.setdefault(split_pointer(operation.path)[1], []).append(operation)
    return list(sections.values())


def finer(document: Mapping[str, Any], changes: Patch) -> Patch | None:
    """The same changes key by key, where some of them take whole objects away; None where none does."""
    result: Patch = []
    for operation in changes:
        value = get_pointer(document, operation.path)
        if operation.op == "remove" and isinstance(value, Mapping) and value:
            result += [PatchOperation(op="remove", path=operation.path + join_pointer(key)) for key in value]
        else:
            result.append(operation)
    return None if len(result) == len(changes) and result == changes else result


def without(document: Mapping[str, Any], changes: Patch, taken: Patch) -> Patch:
    """The changes but those taken; an object of which a part is taken is split up."""
    left: Patch = []
    for operation in changes:
        inside = [t for t in taken if t.path.startswith(operation.path + "/")]
        if any(t.path == operation.path for t in taken):
            continue
        split = finer(document, [operation]) if inside else None
        left += without(document, split, taken) if split else [operation]
    return left


def all_keys(document: Mapping[str, Any], changes: Patch) -> list[str]:
    """Pointers of the keys that the changes touch, down to the last object."""
    while (split := finer(document, changes)) is not None:
        changes = split
    return [operation.path for operation in changes]


def with_mirrors(document: Mapping[str, Any], changes: Patch) -> Patch:
    """The changes, and those of the training arguments that must say the same."""
    training = document.get("training") or {}
    mirrored: Patch = []
    for operation in changes:
        keys = split_pointer(operation.path)
        name = keys[1] if len(keys) > 1 else ""
        argument = _MIRRORS.get(name)
        turns_off = len(keys) == 2 or keys[2:] == ["enabled"]
        if argument and turns_off and training.get(argument.rpartition("/")[2]):
            mirrored.append(PatchOperation(op="replace", path=argument, value=False))
    return [*changes, *mirrored]

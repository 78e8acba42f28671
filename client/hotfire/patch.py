"""RFC 6902 patches on the spec document: `add`, `replace`, `remove`."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from hotfire.rules.evidence import PatchOperation

#: Parts of the spec document that a patch may touch; below /cluster only the versions.
_ROOTS = ("/deepspeed", "/training", "/data", "/model", "/cluster/versions")


class PatchError(ValueError):
    """A patch cannot be applied; the text names the operation."""


def split_pointer(pointer: str) -> list[str]:
    """The keys of a JSON pointer (RFC 6901)."""
    if pointer and not pointer.startswith("/"):
        raise PatchError(f"{pointer!r} is not a JSON pointer: it must begin with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def join_pointer(*keys: str | int) -> str:
    """A JSON pointer from keys."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def get_pointer(document: Any, pointer: str, default: Any = None) -> Any:
    """The value at a pointer, or `default`."""
    for key in split_pointer(pointer):
        if isinstance(document, Mapping) and key in document:
            document = document[key]
        elif isinstance(document, list) and key.isdigit() and int(key) < len(document):
            document = document[int(key)]
        else:
            return default
    return document


def apply_patch(document: Mapping[str, Any], patch: Iterable[PatchOperation]) -> dict[str, Any]:
    """A patched copy of the spec document.

    `add` makes missing objects on the way (a fix may add /deepspeed/bf16/enabled to a config without `bf16`).

    Raises:
        PatchError: An operation does not fit the document, or touches what a patch may not touch.
    """
    result: dict[str, Any] = copy.deepcopy(dict(document))
    for operation in patch:
        if not any(operation.path == root or operation.path.startswith(root + "/") for root in _ROOTS):
            raise PatchError(f"{operation.op} {operation.path}: a patch may only touch {', '.join(_ROOTS)}")
        _apply(result, operation)
    return result


def _apply(document: dict[str, Any], operation: PatchOperation) -> None:
    *parents, last = split_pointer(operation.path)
    node: Any = document
    for key in parents:
        if isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
            continue
        if not isinstance(node, dict):
            raise PatchError(f"{operation.op} {operation.path}: {key!r} is not inside an object")
        if node.get(key) is None:
            if operation.op != "add":
                raise PatchError(f"{operation.op} {operation.path}: there is no {key!r}")
            node[key] = {}
        node = node[key]
    if isinstance(node, list):
        _apply_to_list(node, last, operation)
    elif isinstance(node, dict):
        _apply_to_dict(node, last, operation)
    else:
        raise PatchError(f"{operation.op} {operation.path}: {last!r} is not inside an object or list")


def _apply_to_dict(node: dict[str, Any], key: str, operation: PatchOperation) -> None:
    if operation.op not in ("add", "replace", "remove"):
        raise PatchError(f"{operation.op} {operation.path}: the operation must be add, replace or remove")
    if operation.op != "add" and key not in node:
        raise PatchError(f"{operation.op} {operation.path}: there is no {key!r}")
    if operation.op == "remove":
        del node[key]
    else:
        node[key] = copy.deepcopy(operation.value)


def _apply_to_list(node: list[Any], key: str, operation: PatchOperation) -> None:
    end = len(node) if operation.op == "add" else len(node) - 1
    if key == "-" and operation.op == "add":
        key = str(len(node))
    if not key.isdigit() or int(key) > end:
        raise PatchError(f"{operation.op} {operation.path}: {key!r} is not an index of the list")
    if operation.op == "remove":
        del node[int(key)]
    elif operation.op == "replace":
        node[int(key)] = copy.deepcopy(operation.value)
    elif operation.op == "add":
        node.insert(int(key), copy.deepcopy(operation.value))
    else:
        raise PatchError(f"{operation.op} {operation.path}: the operation must be add, replace or remove")


def diff(before: Any, after: Any, prefix: str = "") -> list[PatchOperation]:
    """The operations that turn one document into the other, key by key (lists are replaced whole).

    Args:
        before: The document as it is.
        after: The document as it should be.
        prefix: JSON pointer of both.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        operations = [
            PatchOperation(op="remove", path=prefix + join_pointer(key)) for key in before if key not in after
        ]
        for key, value in after.items():
            path = prefix + join_pointer(key)
            if key not in before:
                operations.append(PatchOperation(op="add", path=path, value=value))
            else:
                operations += diff(before[key], value, path)
        return operations
    # 1 == True and 1 == 1.0 in Python, but the first pair differs in JSON.
    same = before == after and isinstance(before, bool) == isinstance(after, bool)
    return [] if same else [PatchOperation(op="replace", path=prefix, value=after)]

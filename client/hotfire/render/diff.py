"""A patch as the change of a file: unified diffs of the DeepSpeed config and of the spec's other parts."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hotfire import wire
from hotfire.patch import PatchError, apply_patch, get_pointer, split_pointer
from hotfire.render.text import clean, value_text
from hotfire.rules.evidence import PatchOperation
from hotfire.v1 import report_pb2

_PARTS = ("deepspeed", "training", "data", "model", "cluster")


@dataclass(frozen=True, slots=True)
class FileDiff:
    """The change of one part of the spec."""

    title: str
    lines: tuple[str, ...]
    """Each begins with "+", "-" or " "."""


def operations(patch: Iterable[report_pb2.PatchOperation]) -> list[PatchOperation]:
    """The messages as records."""
    return [wire.message_to_record(op, PatchOperation) for op in patch]


def file_diffs(document: dict[str, Any] | None, patch: Sequence[report_pb2.PatchOperation]) -> list[FileDiff]:
    """The diffs of a patch, part by part.

    Args:
        document: The spec document; None, or one that the patch does not fit: the operations are listed.
        patch: The patch.
    """
    ops = operations(patch)
    if not ops:
        return []
    before = {k: v for k, v in (document or {}).items() if v is not None}
    try:
        after = _renamed_in_place(before, apply_patch(before, ops), ops)
    except PatchError:
        return [FileDiff("patch", tuple(_operation_line(op) for op in ops))]
    diffs = []
    for part in _PARTS:
        old, new = before.get(part), after.get(part)
        if old != new:
            as_file = _json_lines if part == "deepspeed" else _yaml_lines
            diffs.append(FileDiff(_TITLES.get(part, part), tuple(_unified(as_file(old), as_file(new)))))
    return diffs


def _renamed_in_place(before: Any, after: Any, ops: Sequence[PatchOperation]) -> Any:
    """A rename is remove + add, which moves the key to the end: put it back where it was, as a person would."""
    removed = {op.path.rpartition("/")[0]: op.path for op in ops if op.op == "remove"}
    for op in ops:
        parent, _, _ = op.path.rpartition("/")
        old_path = removed.get(parent)
        old, new = get_pointer(before, parent), get_pointer(after, parent)
        if op.op != "add" or old_path is None or not isinstance(old, dict) or not isinstance(new, dict):
            continue
        old_key, new_key = split_pointer(old_path)[-1], split_pointer(op.path)[-1]
        if old.get(old_key) != op.value or new_key in old:
            continue
        order = [new_key if key == old_key else key for key in old]
        items = [(key, new[key]) for key in order if key in new]
        items += [item for item in new.items() if item[0] not in order]
        new.clear()
        new.update(items)
    return after


_TITLES = {"deepspeed": "DeepSpeed config", "training": "training arguments"}


def _unified(old: list[str], new: list[str]) -> Iterable[str]:
    skipped_header = 2
    for i, line in enumerate(difflib.unified_diff(old, new, n=1, lineterm="")):
        if i >= skipped_header and not line.startswith("@@"):
            yield clean(line)
        elif i > skipped_header:
            yield "  ..."


def _json_lines(value: Any) -> list[str]:
    text = json.dumps(value if value is not None else {}, indent=2, ensure_ascii=False)
    # A comma that only comes or goes because a neighbour does is no change.
    return [line.removesuffix(",") for line in text.splitlines()]


def _yaml_lines(value: Any, indent: str = "") -> list[str]:
    lines: list[str] = []
    for key, item in (value or {}).items():
        if isinstance(item, dict) and item:
            lines.append(f"{indent}{key}:")
            lines += _yaml_lines(item, indent + "  ")
        else:
            lines.append(f"{indent}{key}: {json.dumps(item, ensure_ascii=False)}")
    return lines


def _operation_line(op: PatchOperation) -> str:
    mark = {"add": "+", "remove": "-"}.get(op.op, "+")
    return f"{mark} {clean(op.path)}" + ("" if op.op == "remove" else f": {value_text(op.value)}")


def one_line(patch: Iterable[report_pb2.PatchOperation], *, short: bool = False) -> str:
    """A patch on one line: `/deepspeed/bf16/enabled = true, -/deepspeed/fp16`; short: without the part's name."""
    texts = []
    for op in operations(patch):
        path = op.path.split("/", 2)[-1] if short else op.path
        if op.op == "remove":
            texts.append(f"-{path}")
        else:
            texts.append(f"{path} = {value_text(op.value, limit=32)}")
    return clean(", ".join(texts))

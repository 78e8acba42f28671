"""A patch applied to the text of a config: comments, order and layout of everything else stay as they are.

Each operation finds its place in the text by the reader's offsets and changes nothing but that. At the end the
new text is read again: if it does not say exactly what the patched config says, the edit is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from hotfire import patch as patches
from hotfire.dsconfig.hjson_reader import HjsonError, Reading, read
from hotfire.rules.evidence import PatchOperation

_ROOT = "/deepspeed"
_COMMENT = re.compile(r"(?:#|//)[^\n\r]*|/\*.*?\*/", re.DOTALL)
_REST_IS_COMMENT = re.compile(r"[ \t]*(?:(?:#|//)[^\n\r]*)?(?=\r?\n|\Z)")
_NEWLINE = re.compile(r"\r?\n")


class EditError(ValueError):
    """The text cannot be edited like this; the message says why."""


def edit(text: str, patch: Sequence[PatchOperation]) -> str:
    """The text with a patch applied.

    Args:
        text: A config that can be read (JSON or Hjson).
        patch: Operations below /deepspeed.

    Raises:
        EditError: The patch does not fit, or the text is not of a form in which it can be edited in place.
    """
    try:
        before = read(text).value
        wanted = patches.apply_patch({"deepspeed": before}, patch)["deepspeed"]
    except (HjsonError, patches.PatchError) as error:
        raise EditError(str(error)) from None
    result = text
    for operation in _with_renames(before, patch):
        result = operation.apply(result)
    try:
        after = read(result).value
    except HjsonError as error:
        raise EditError(f"the edited text could not be read: {error}") from None
    if patches.diff(wanted, after):
        raise EditError("the text is not of a form in which this can be changed in place")
    return result


class _Edit:
    """One change: of a value, of a key's name, of a whole member."""

    def __init__(
        self, pointer: str, *, value: Any = None, name: str | None = None, gone: bool = False
    ) -> None:
        self.pointer = pointer
        self.value = value
        self.name = name
        self.gone = gone

    def apply(self, text: str) -> str:
        """The text after it."""
        reading = read(text)
        if self.name is not None:
            return _rename(text, reading, self.pointer, self.name)
        if self.gone:
            return _remove(text, reading, self.pointer)
        if self.pointer in reading.spans:
            start, end = reading.spans[self.pointer]
            return text[:start] + _dump(self.value, text, start) + text[end:]
        return _insert(text, reading, self.pointer, self.value)


def _with_renames(config: Any, patch: Sequence[PatchOperation]) -> list[_Edit]:
    """The operations; a remove and an add of one value in one section are a change of the name."""
    edits: list[_Edit] = []
    done: set[int] = set()
    for i, operation in enumerate(patch):
        pointer = operation.path.removeprefix(_ROOT)
        if pointer == operation.path or not pointer:
            raise EditError(f"{operation.path} is not a key of the DeepSpeed config")
        if i in done:
            continue
        if operation.op != "remove":
            edits.append(_Edit(pointer, value=operation.value))
            continue
        value = patches.get_pointer(config, pointer)
        for j, other in enumerate(patch[i + 1 :], start=i + 1):
            beside = other.path.rpartition("/")[0] == operation.path.rpartition("/")[0]
            free = patches.get_pointer(config, other.path.removeprefix(_ROOT)) is None
            if other.op == "add" and beside and free and not patches.diff(value, other.value):
                edits.append(_Edit(pointer, name=patches.split_pointer(other.path)[-1]))
                done.add(j)
                break
        else:
            edits.append(_Edit(pointer, gone=True))
    return edits


# --- the three changes


def _rename(text: str, reading: Reading, pointer: str, name: str) -> str:
    start = _offset(reading, pointer)
    if text[start] == '"':
        _, end = json.JSONDecoder().raw_decode(text, start)
    else:
        end = start + len(text[start : text.index(":", start)].rstrip())
    return text[:start] + json.dumps(name, ensure_ascii=False) + text[end:]


def _remove(text: str, reading: Reading, pointer: str) -> str:
    start, end = _offset(reading, pointer), reading.spans[pointer][1]
    comma = _comma_after(text, end)
    if comma is not None:
        end = comma + 1
    elif (before := _comma_before(text, reading, pointer)) is not None:
        text = text[:before] + text[before + 1 :]
        start, end = start - 1, end - 1
        start = before + len(text[before:start].rstrip(" \t"))
    line_start = text.rfind("\n", 0, start) + 1
    rest = _REST_IS_COMMENT.match(text, end)
    if not text[line_start:start].strip() and rest is not None:
        # The member has its lines to itself; a comment behind it is about it.
        newline = _NEWLINE.match(text, rest.end())
        start, end = line_start, newline.end() if newline is not None else rest.end()
    else:
        end += len(text[end:]) - len(text[end:].lstrip(" \t"))
    return _collapsed(text[:start] + text[end:], pointer.rpartition("/")[0])


def _collapsed(text: str, parent: str) -> str:
    """An object that has lost its last member is written as {}."""
    span = read(text).spans.get(parent)
    if span is None:
        return text
    start, end = span
    inner = text[start + 1 : end - 1]
    return text[:start] + "{}" + text[end:] if text[start] == "{" and not inner.strip() else text


def _insert(text: str, reading: Reading, pointer: str, value: Any) -> str:
    """Puts a new member after the last one of its section; sections that are not there are made."""
    parent, name = pointer.rpartition("/")[0], patches.split_pointer(pointer)[-1]
    while parent not in reading.spans:
        if not parent:
            raise EditError("a config without outer braces")
        value = {name: value}
        parent, name = parent.rpartition("/")[0], patches.split_pointer(parent)[-1]
    start, end = reading.spans[parent]
    if text[start] != "{":
        raise EditError(f"{_ROOT}{parent} is not an object in braces")
    newline = "\r\n" if "\r\n" in text else "\n"
    key = json.dumps(name, ensure_ascii=False) + ": "
    members = [p for p in reading.spans if p.rpartition("/")[0] == parent and p]
    if not members:
        if "\n" not in text:
            return f"{text[: start + 1]}{key}{json.dumps(value)}{text[end - 1 :]}"
        indent = _indent(text, start)
        inner = indent + _unit(text)
        body = key + _dump(value, text, start, indent=inner)
        return f"{text[: start + 1]}{newline}{inner}{body}{newline}{indent}{text[end - 1 :]}"
    last = max(members, key=lambda p: reading.spans[p][1])
    last_end = reading.spans[last][1]
    comma = _comma_after(text, last_end)
    swallowed = any(q.pointer == last for q in reading.quoteless)
    after = last_end if comma is None else comma + 1
    separator = "" if comma is not None or swallowed else ","
    trailing = "," if comma is not None else ""
    first_key = min(reading.offsets[p] for p in members)
    if "\n" not in text[start:first_key] and not swallowed:
        return f"{text[:last_end]}, {key}{json.dumps(value)}{text[last_end:]}"
    indent = _indent(text, reading.offsets[last])
    body = f"{newline}{indent}{key}{_dump(value, text, start, indent=indent)}{trailing}"
    rest = _REST_IS_COMMENT.match(text, after)
    line_end = rest.end() if rest is not None else after
    return f"{text[:last_end]}{separator}{text[last_end:line_end]}{body}{text[line_end:]}"


# --- looking around in the text


def _offset(reading: Reading, pointer: str) -> int:
    if pointer not in reading.offsets or pointer not in reading.spans:
        raise EditError(f"{_ROOT}{pointer} has no place in the text")
    return reading.offsets[pointer]


def _comma_after(text: str, at: int) -> int | None:
    while at < len(text):
        if comment := _COMMENT.match(text, at):
            at = comment.end()
        elif text[at].isspace():
            at += 1
        else:
            return at if text[at] == "," else None
    return None


def _comma_before(text: str, reading: Reading, pointer: str) -> int | None:
    """The comma between a member and the one before it."""
    parent, start = pointer.rpartition("/")[0], reading.offsets[pointer]
    ends = [
        end
        for p, (_, end) in reading.spans.items()
        if p and p.rpartition("/")[0] == parent and p != pointer and end <= start
    ]
    comma = _comma_after(text, max(ends)) if ends else None
    return comma if comma is not None and comma < start else None


def _indent(text: str, at: int) -> str:
    """The blanks at the beginning of the line."""
    line = text[text.rfind("\n", 0, at) + 1 :]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str) -> str:
    """One step of indentation, as the text has it."""
    found = re.search(r"\n([ \t]+)\S", text)
    return found[1] if found is not None else "  "


def _dump(value: Any, text: str, at: int, *, indent: str | None = None) -> str:
    """A value as JSON, its lines indented as the line that it stands on."""
    if not isinstance(value, dict | list) or not value or "\n" not in text:
        return json.dumps(value, ensure_ascii=False)
    base = _indent(text, at) if indent is None else indent
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = json.dumps(value, indent=_unit(text), ensure_ascii=False).split("\n")
    return (newline + base).join(lines)

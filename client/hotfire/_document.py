"""A YAML or JSON text as plain Python, with the line and column of every key, and all its problems.

YAML needs PyYAML (extra `cli`); JSON needs nothing.
"""

from __future__ import annotations

import bisect
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotfire.errors import MissingExtraError, Violation

Key = tuple[str | int, ...]
Position = tuple[int, int]
_MAX_REPEATED_NODES = 20_000  # aliases can make a small YAML text explode


@dataclass(slots=True)
class Document:
    """What a text holds."""

    data: Any
    positions: dict[str, Position] = field(default_factory=dict)
    """Dotted path ("training.stages[0]") -> (line, column) of its key, from 1."""
    problems: list[Violation] = field(default_factory=list)


def dotted(key: Key) -> str:
    """("plan", "stages", 0) -> "plan.stages[0]"."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_document(text: str, *, path: Path | None = None) -> Document:
    """Reads a text; its problems are collected, not raised.

    Args:
        text: The file's text.
        path: Its path: the suffix says which of the two it is (.json: JSON; anything else: YAML).

    Raises:
        MissingExtraError: It is YAML and PyYAML is not installed.
    """
    if path is not None and path.suffix.lower() == ".json":
        return _JsonReader(text).read()
    return _read_yaml(text)


class _JsonReader:
    """A recursive-descent walk over JSON; the standard library's decoder reads the scalars."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._document = Document(None)
        self._scalar = json.JSONDecoder()
        self._lines = [0]
        for i, char in enumerate(text):
            if char == "\n":
                self._lines.append(i + 1)

    def read(self) -> Document:
        """The document; a syntax error leaves `data` None."""
        try:
            self._document.data, end = self._value(self._blank(0), ())
            end = self._blank(end)
            if end != len(self._text):
                raise json.JSONDecodeError("text after the end of the document", self._text, end)
        except json.JSONDecodeError as error:
            self._document.data = None
            self._document.problems.append(
                Violation(
                    field="", description=f"not JSON: {error.msg}", line=error.lineno, column=error.colno
                )
            )
        except RecursionError:
            self._document.data = None
            self._document.problems.append(Violation(field="", description="nested too deeply"))
        return self._document

    def _value(self, at: int, key: Key) -> tuple[Any, int]:
        match self._text[at : at + 1]:
            case "{":
                return self._object(at, key)
            case "[":
                return self._array(at, key)
        return self._scalar.raw_decode(self._text, at)

    def _object(self, at: int, key: Key) -> tuple[dict[str, Any], int]:
        result: dict[str, Any] = {}
        at = self._blank(at + 1)
        if self._text[at : at + 1] == "}":
            return result, at + 1
        while True:
            start = at
            if self._text[at : at + 1] != '"':
                raise json.JSONDecodeError("a key in double quotes is expected", self._text, at)
            name, at = self._scalar.raw_decode(self._text, at)
            inner = (*key, name)
            position = self._position(start)
            if name in result:
                self._document.problems.append(_duplicate(inner, position))
            self._document.positions[dotted(inner)] = position
            at = self._expect(self._blank(at), ":")
            result[name], at = self._value(self._blank(at), inner)
            at = self._blank(at)
            if self._text[at : at + 1] == "}":
                return result, at + 1
            at = self._blank(self._expect(at, ","))

    def _array(self, at: int, key: Key) -> tuple[list[Any], int]:
        result: list[Any] = []
        at = self._blank(at + 1)
        if self._text[at : at + 1] == "]":
            return result, at + 1
        while True:
            inner = (*key, len(result))
            self._document.positions[dotted(inner)] = self._position(at)
            value, at = self._value(at, inner)
            result.append(value)
            at = self._blank(at)
            if self._text[at : at + 1] == "]":
                return result, at + 1
            at = self._blank(self._expect(at, ","))

    def _expect(self, at: int, char: str) -> int:
        if self._text[at : at + 1] != char:
            raise json.JSONDecodeError(f"{char!r} is expected", self._text, at)
        return at + 1

    def _blank(self, at: int) -> int:
        while at < len(self._text) and self._text[at] in " \t\r\n\ufeff":
            at += 1
        return at

    def _position(self, at: int) -> Position:
        line = bisect.bisect_right(self._lines, at)
        return line, at - self._lines[line - 1] + 1


def _read_yaml(text: str) -> Document:
    try:
        import yaml
    except ImportError:
        raise MissingExtraError(
            "YAML needs PyYAML: pip install 'hotfire[cli]' (a .json file works without it)"
        ) from None
    document = Document(None)
    try:
        # The constructor already refuses characters that YAML does not allow.
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None:
            document.data = _YamlReader(loader, document).value(node, (), ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.problems.append(
            Violation(
                field="",
                description=f"not YAML: {error.problem or error.context}",
                line=mark.line + 1 if mark is not None else None,
                column=mark.column + 1 if mark is not None else None,
            )
        )
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        document.problems.append(Violation(field="", description=f"not YAML: {error}"))
    return document


class _YamlReader:
    """Nodes to plain Python: only what JSON can say; a date stays the text that it is."""

    def __init__(self, loader: Any, document: Document) -> None:
        self._loader = loader
        self._document = document
        self._seen: set[int] = set()
        self._num_repeated = 0

    def value(self, node: Any, key: Key, above: tuple[int, ...]) -> Any:
        """The value of a node."""
        import yaml

        self._num_repeated += id(node) in self._seen
        self._seen.add(id(node))
        if self._num_repeated > _MAX_REPEATED_NODES or id(node) in above:
            raise yaml.constructor.ConstructorError(
                None, None, "aliases that refer to themselves, or far too many of them", node.start_mark
            )
        above = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key, above)
        if isinstance(node, yaml.SequenceNode):
            result = []
            for i, item in enumerate(node.value):
                inner = (*key, i)
                self._document.positions[dotted(inner)] = _mark(item)
                result.append(self.value(item, inner, above))
            return result
        if node.tag == "tag:yaml.org,2002:timestamp":
            return node.value
        value = self._loader.construct_object(node, deep=True)
        if isinstance(value, str | int | float | bool) or value is None:
            return value
        line, column = _mark(node)
        self._document.problems.append(
            Violation(
                field=dotted(key),
                description=f"{type(value).__name__} is not a JSON type",
                line=line,
                column=column,
            )
        )
        return None

    def _mapping(self, node: Any, key: Key, above: tuple[int, ...]) -> dict[str, Any]:
        seen: set[str] = set()
        for name_node, _ in node.value:
            name = str(name_node.value)
            if name in seen and name_node.tag != "tag:yaml.org,2002:merge":
                self._document.problems.append(_duplicate((*key, name), _mark(name_node)))
            seen.add(name)
        self._loader.flatten_mapping(node)
        result: dict[str, Any] = {}
        for name_node, item in node.value:
            if not isinstance(name_node.value, str):
                line, column = _mark(name_node)
                self._document.problems.append(
                    Violation(field=dotted(key), description="a key must be text", line=line, column=column)
                )
                continue
            inner = (*key, name_node.value)
            self._document.positions[dotted(inner)] = _mark(name_node)
            result[name_node.value] = self.value(item, inner, above)
        return result


def _mark(node: Any) -> Position:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _duplicate(key: Key, position: Position) -> Violation:
    return Violation(
        field=dotted(key), description="this key is given twice", line=position[0], column=position[1]
    )

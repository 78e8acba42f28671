"""A reader of JSON and Hjson that remembers where every key stands.

DeepSpeed reads its config with the `hjson` package; the Hugging Face loaders read strict JSON. This reader
accepts what `hjson` accepts (comments, missing or trailing commas, keys and strings without quotes, triple
quotes, no outer braces), with its peculiarities: a string without quotes runs to the end of the line and swallows the
comma. It notes the first place that strict JSON would not accept, and every key that is given twice.

Source: hjson 3.1 (hjson/decoder.py), RFC 8259; `NaN` and `Infinity` as Python's `json` reads them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

MAX_DEPTH = 100
"""Objects and lists deeper than this are refused: no config needs it, and recursion must end."""

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
# What nearly every config is made of, at once; the rest goes character by character.
_BLANKS = re.compile(r"[ \t\n\r\f\v\ufeff\u00a0]*")
_SIMPLE_STRING = re.compile(r'"([^"\\\x00-\x1f]*)"')
_SIMPLE_TOKEN = re.compile(
    r"(true|false|null|-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?)(?=\s*[,}\]]|[ \t]*[\r\n])"
)
_CONSTANTS: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
}
_ESCAPES = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class HjsonError(ValueError):
    """The text is neither JSON nor Hjson. `offset` is where reading stopped."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset
        self.quoteless: list[Quoteless] = []
        """Strings without quotes read up to there: often the real cause."""


@dataclass(slots=True)
class Duplicate:
    """A key that the same object gives again."""

    pointer: str
    first_offset: int
    offset: int


@dataclass(slots=True)
class Quoteless:
    """A string without quotes: Hjson only."""

    pointer: str
    text: str
    offset: int


@dataclass(slots=True)
class Reading:
    """What was read."""

    value: Any = None
    offsets: dict[str, int] = field(default_factory=dict)
    """JSON pointer -> offset of the key (of the value for list items)."""
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    """JSON pointer -> where its value begins and ends."""
    duplicates: list[Duplicate] = field(default_factory=list)
    quoteless: list[Quoteless] = field(default_factory=list)
    not_json: tuple[int, str] | None = None
    """First offset at which strict JSON would stop, and what stands there."""


class LineIndex:
    """Turns offsets into (line, column), both from 1."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(m.end() for m in re.finditer(r"\n", text))]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of a character."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


def escape(token: str) -> str:
    """One segment of a JSON pointer (RFC 6901)."""
    return token.replace("~", "~0").replace("/", "~1")


def read(text: str) -> Reading:
    """Reads the text.

    Raises:
        HjsonError: It is neither JSON nor Hjson.
    """
    reader = _Reader(text)
    try:
        return reader.read()
    except HjsonError as error:
        error.quoteless = reader.quoteless
        raise


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._result = Reading()

    @property
    def quoteless(self) -> list[Quoteless]:
        return self._result.quoteless

    def read(self) -> Reading:
        char = self._skip()
        if not char:
            raise HjsonError("the text is empty", 0)
        if char in "{[":
            self._result.value = self._value("", 0)
        else:
            start = self._at
            try:
                self._note("an object without braces")
                self._result.value = self._object("", 1, braces=False)
            except HjsonError as as_object:
                # A single scalar is Hjson too; the caller refuses it for not being an object.
                failed, self._at, self._result = self._result, start, Reading()
                try:
                    self._result.value = self._value("", 0)
                    scalar = not self._skip()
                except HjsonError:
                    scalar = False
                if not scalar:
                    self._result = failed
                    raise as_object from None
        if self._skip():
            raise HjsonError("there is more text after the end of the config", self._at)
        return self._result

    # -- helpers

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _note(self, what: str, offset: int | None = None) -> None:
        if self._result.not_json is None:
            self._result.not_json = (self._at if offset is None else offset, what)

    def _skip(self) -> str:
        """Passes white space and comments; returns the next character, "" at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            assert blanks is not None
            self._at = blanks.end()
            char = self._peek()
            if char not in "#/":
                return char
            following = self._text[self._at + 1 : self._at + 2]
            if char == "#" or (char == "/" and following == "/"):
                self._note("a comment")
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif char == "/" and following == "*":
                self._note("a comment")
                end = self._text.find("*/", self._at + 2)
                if end < 0:
                    raise HjsonError("this comment has no end", self._at)
                self._at = end + 2
            else:
                return char

    # -- grammar

    def _value(self, pointer: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise HjsonError(f"nested deeper than {MAX_DEPTH} levels", self._at)
        self._skip()
        start = self._at
        value = self._value_here(pointer, depth)
        # A value without quotes runs to the end of its line, blanks and all.
        end = start + len(self._text[start : self._at].rstrip())
        self._result.spans[pointer] = (start, end)
        return value

    def _value_here(self, pointer: str, depth: int) -> Any:
        char = self._peek()
        if char == "{":
            self._at += 1
            return self._object(pointer, depth + 1, braces=True)
        if char == "[":
            self._at += 1
            return self._list(pointer, depth + 1)
        if self._text.startswith("'''", self._at):
            self._note("a ''' string")
            return self._multiline()
        if char and char in "\"'":
            return self._string()
        return self._quoteless(pointer)

    def _object(self, pointer: str, depth: int, *, braces: bool) -> dict[str, Any]:
        result: dict[str, Any] = {}
        comma: int | None = None
        while True:
            char = self._skip()
            if (braces and char == "}") or (not braces and not char):
                if comma is not None:
                    self._note("a trailing comma", comma)
                self._at += 1 if braces else 0
                return result
            if not char:
                raise HjsonError("the text ends inside an object: a closing `}` is missing", self._at)
            if result and comma is None:
                self._note("a missing comma")
            offset = self._at
            key = self._key()
            path = f"{pointer}/{escape(key)}"
            if key in result:
                self._result.duplicates.append(Duplicate(path, self._result.offsets[path], offset))
                for below in [p for p in self._result.offsets if p.startswith(path + "/")]:
                    del self._result.offsets[below], self._result.spans[below]
            self._result.offsets[path] = offset
            if self._skip() != ":":
                raise HjsonError(f"a colon is missing after the key {key!r}", self._at)
            self._at += 1
            result[key] = self._value(path, depth)
            comma = None
            if self._skip() == ",":
                comma = self._at
                self._at += 1

    def _list(self, pointer: str, depth: int) -> list[Any]:
        result: list[Any] = []
        comma: int | None = None
        while True:
            char = self._skip()
            if char == "]":
                if comma is not None:
                    self._note("a trailing comma", comma)
                self._at += 1
                return result
            if not char:
                raise HjsonError("the text ends inside a list: a closing `]` is missing", self._at)
            if result and comma is None:
                self._note("a missing comma")
            path = f"{pointer}/{len(result)}"
            self._result.offsets[path] = self._at
            result.append(self._value(path, depth))
            comma = None
            if self._skip() == ",":
                comma = self._at
                self._at += 1

    def _key(self) -> str:
        start = self._at
        if self._peek() in "\"'":
            return self._string()
        end = self._text.find(":", start)
        name = self._text[start : end if end >= 0 else len(self._text)]
        if end < 0 or not name.strip() or re.search(r"[{}\[\],\"']|\S\s+\S", name.strip()):
            found = self._text[start : start + 1]
            raise HjsonError(f"a key was expected here, found {found!r}", start)
        self._note("a key without quotes")
        self._at = end
        return name.strip()

    def _string(self) -> str:
        start = self._at
        if simple := _SIMPLE_STRING.match(self._text, start):
            self._at = simple.end()
            return simple[1]
        quote = self._text[start]
        if quote == "'":
            self._note("a string in single quotes")
        self._at += 1
        chunks: list[str] = []
        while True:
            char = self._peek()
            if not char:
                raise HjsonError("this string has no closing quote", start)
            if char == quote:
                self._at += 1
                return "".join(chunks)
            if char < " ":
                raise HjsonError("this string has no closing quote on its line", start)
            if char == "\\":
                chunks.append(self._escape(start))
            else:
                chunks.append(char)
                self._at += 1

    def _escape(self, start: int) -> str:
        code = self._text[self._at + 1 : self._at + 2]
        if code == "u":
            if unit := self._hex(self._at + 2):
                self._at += 6
                low = self._hex(self._at + 2) if self._text.startswith("\\u", self._at) else None
                if 0xD800 <= unit < 0xDC00 and low is not None and 0xDC00 <= low < 0xE000:
                    self._at += 6
                    unit = 0x10000 + ((unit - 0xD800) << 10 | (low - 0xDC00))
                return chr(unit)
            if self._text.startswith("0000", self._at + 2):
                self._at += 6
                return "\0"
        elif code in _ESCAPES and code:
            if code == "'":
                self._note("the escape \\'")
            self._at += 2
            return _ESCAPES[code]
        raise HjsonError(f"unknown escape \\{code} in the string", self._at if code else start)

    def _hex(self, at: int) -> int | None:
        digits = self._text[at : at + 4]
        return int(digits, 16) if re.fullmatch(r"[0-9a-fA-F]{4}", digits) else None

    def _multiline(self) -> str:
        start = self._at
        end = self._text.find("'''", start + 3)
        if end < 0:
            raise HjsonError("this ''' string has no end", start)
        indent = start - (self._text.rfind("\n", 0, start) + 1)
        body = self._text[start + 3 : end].replace("\r", "")
        self._at = end + 3
        first, newline, rest = body.partition("\n")
        if first.strip(" \t"):
            first, newline, rest = "", "", body.lstrip(" \t")
        lines = rest.split("\n")
        cut = lines[:1] if not newline else []
        cut += [re.sub(rf"^[ \t]{{0,{indent}}}", "", line) for line in lines[len(cut) :]]
        text = "\n".join(cut)
        return text.removesuffix("\n")

    def _quoteless(self, pointer: str) -> Any:
        """A number, true, false, null, or text up to the end of the line."""
        start = self._at
        if self._peek() in ("", "}", "]", ",", ":"):
            raise HjsonError(
                f"a value was expected here, found {self._peek() or 'the end of the text'!r}", start
            )
        if simple := _SIMPLE_TOKEN.match(self._text, start):
            self._at = simple.end()
            if simple[1] in _CONSTANTS:
                return _CONSTANTS[simple[1]]
            return float(simple[1]) if simple[2] or simple[3] else int(simple[1])
        line_end = re.compile(r"[\r\n]|\Z").search(self._text, start)
        limit = line_end.start() if line_end else len(self._text)
        ends = [m.start() for m in re.finditer(r"[,}\]#]|//|/\*", self._text[start:limit])]
        for end in [*(start + e for e in ends), limit]:
            token = self._text[start:end].strip()
            if token in _CONSTANTS:
                self._at = end
                return _CONSTANTS[token]
            if number := _NUMBER.fullmatch(token):
                self._at = end
                return float(token) if number[1] or number[2] else int(token)
        text = self._text[start:limit].strip()
        self._note("a string without quotes", start)
        self._result.quoteless.append(Quoteless(pointer, text, start))
        self._at = limit
        return text

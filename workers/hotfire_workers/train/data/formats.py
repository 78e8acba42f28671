"""The layout of the rows: which one it is, and each row brought to one shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hotfire_workers.train.data.stream import SampleError

SUPPORTED = ("MESSAGES", "PROMPT_COMPLETION", "TEXT", "TOKENIZED")

_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("TOKENIZED", ("input_ids",)),
    ("MESSAGES", ("messages",)),
    ("PREFERENCE", ("chosen", "rejected")),
    ("PROMPT_COMPLETION", ("prompt", "completion")),
    ("SHAREGPT", ("conversations",)),
    ("ALPACA", ("instruction", "output")),
    ("TEXT", ("text",)),
)
"""Format -> the columns that tell it, in the order in which they are tried."""

_REMEDIES = {
    "SHAREGPT": 'turn "conversations" into "messages" with "role" and "content" '
    "(if it holds role and content already: data.columns {messages: conversations})",
    "ALPACA": 'give "prompt" (instruction and input) and "completion" (output)',
    "PREFERENCE": "give the chosen answers as prompt and completion",
}


class RowError(ValueError):
    """One row cannot be used. `kind` is that of `RejectedRow`; the text holds nothing of the row."""

    def __init__(self, reason: str, *, kind: str = "malformed"):
        super().__init__(reason)
        self.kind = kind


@dataclass(kw_only=True, slots=True)
class Item:
    """One row in one shape. Exactly one of `messages`, `text` and `input_ids` is there."""

    row: int
    messages: list[dict[str, Any]] | None = None
    num_prompt_messages: int | None = None
    """Of conversational prompt/completion rows: how many messages are the prompt."""
    tools: list[Any] | None = None
    text: str | None = None
    """Plain text; for prompt/completion rows prompt + completion."""
    prompt: str | None = None
    completion: str | None = None
    input_ids: list[int] | None = None
    labels: list[int] | None = None
    attention_mask: list[int] | None = None

    @property
    def answers(self) -> list[str] | None:
        """The texts that are to be learnt, where they are known; None where not (tool calls, parts, ids)."""
        if self.completion is not None:
            return [self.completion]
        if self.messages is None:
            return None
        answers = []
        for message in self.messages[self.num_prompt_messages or 0 :]:
            if message["role"] == "assistant":
                if not isinstance(message.get("content"), str) or set(message) - {"role", "content", "name"}:
                    return None
                answers.append(message["content"])
        return answers


@dataclass(kw_only=True, slots=True)
class Layout:
    """How to read a row: the format and where its columns are."""

    format: str
    columns: Mapping[str, str] = field(default_factory=dict)
    role_mapping: Mapping[str, str] = field(default_factory=dict)

    def name(self, column: str) -> str:
        """Name in the data of a column of the format."""
        return self.columns.get(column, column)

    def item(self, row: int, value: Mapping[str, Any]) -> Item:
        """Brings one row to its shape.

        Raises:
            RowError: A field is missing or of a wrong type.
        """
        match self.format:
            case "MESSAGES":
                item = Item(row=row, messages=self._messages(value, "messages"))
            case "PROMPT_COMPLETION":
                item = self._prompt_completion(row, value)
            case "TEXT":
                item = Item(row=row, text=self._text(value, "text"))
            case _:
                item = self._tokenized(row, value)
        if item.messages is not None and isinstance(value.get("tools"), list) and value["tools"]:
            item.tools = value["tools"]
        return item

    def _field(self, value: Mapping[str, Any], column: str) -> Any:
        name = self.name(column)
        if name not in value:
            raise RowError(f"no field {name!r}; the row has {_names(value)}")
        if value[name] is None:
            raise RowError(f"field {name!r} is null")
        return value[name]

    def _text(self, value: Mapping[str, Any], column: str) -> str:
        text = self._field(value, column)
        if not isinstance(text, str):
            raise RowError(f"field {self.name(column)!r} is {_kind(text)}, not a text")
        return _encodable(text, self.name(column))

    def _messages(self, value: Mapping[str, Any], column: str) -> list[dict[str, Any]]:
        messages, name = self._field(value, column), self.name(column)
        if not isinstance(messages, list):
            raise RowError(f"field {name!r} is {_kind(messages)}, not a list of messages")
        if not messages:
            raise RowError(f"field {name!r} is an empty list")
        return [self._message(message, f"{name}[{i}]") for i, message in enumerate(messages)]

    def _message(self, message: Any, where: str) -> dict[str, Any]:
        if not isinstance(message, dict):
            raise RowError(f"{where} is {_kind(message)}, not an object with role and content")
        if "role" not in message:
            hint = (
                "; from/value is the ShareGPT layout: rename to role and content" if "from" in message else ""
            )
            raise RowError(f"{where} has no 'role'; it has {_names(message)}{hint}")
        if not isinstance(message["role"], str):
            raise RowError(f"{where}.role is {_kind(message['role'])}, not a text")
        content = message.get("content")
        if content is None and not message.get("tool_calls"):
            raise RowError(f"{where} has no 'content'; it has {_names(message)}")
        if content is not None and not isinstance(content, str | list):
            raise RowError(f"{where}.content is {_kind(content)}, not a text")
        if isinstance(content, str):
            _encodable(content, f"{where}.content")
        return {**message, "role": self.role_mapping.get(message["role"], message["role"])}

    def _prompt_completion(self, row: int, value: Mapping[str, Any]) -> Item:
        prompt, completion = self._field(value, "prompt"), self._field(value, "completion")
        if isinstance(prompt, list) and isinstance(completion, list):
            before, after = self._messages(value, "prompt"), self._messages(value, "completion")
            return Item(row=row, messages=before + after, num_prompt_messages=len(before))
        prompt, completion = self._text(value, "prompt"), self._text(value, "completion")
        return Item(row=row, text=prompt + completion, prompt=prompt, completion=completion)

    def _tokenized(self, row: int, value: Mapping[str, Any]) -> Item:
        ids = _integers(self._field(value, "input_ids"), self.name("input_ids"))
        if not ids:
            raise RowError(f"field {self.name('input_ids')!r} is an empty list: the row has no tokens")
        item = Item(row=row, input_ids=ids)
        for column in ("labels", "attention_mask"):
            name = self.name(column)
            if value.get(name) is not None:
                numbers = _integers(value[name], name)
                if len(numbers) != len(ids):
                    raise RowError(f"field {name!r} has {len(numbers)} numbers, the ids are {len(ids)}")
                setattr(item, column, numbers)
        return item


def layout_of(
    rows: Sequence[Mapping[str, Any]],
    *,
    format: str = "AUTO",  # noqa: A002 - the contract's name
    columns: Mapping[str, str] | None = None,
    role_mapping: Mapping[str, str] | None = None,
) -> Layout:
    """Finds the format of the sample from its first rows.

    Args:
        rows: Some rows from the beginning of the sample.
        format: The contract's format name without prefix; AUTO: look at the rows.
        columns: Column of the format -> column of the data.
        role_mapping: Role of the data -> role of the chat template.

    Raises:
        SampleError: Not a format that is known, or one that cannot be run yet.
    """
    columns = dict(columns or {})
    if format in ("AUTO", "UNSPECIFIED", ""):
        found = Counter(name for row in rows if (name := _format_of(row, columns)))
        if not found:
            seen = Counter(key for row in rows for key in row)
            names = ", ".join(repr(key[:40]) for key, _ in seen.most_common(8)) or "no fields at all"
            raise SampleError(
                f"The layout of the rows is not known: they have {names}. {_what_is_supported()} "
                "If the columns have other names, say so in data.columns."
            )
        format = found.most_common(1)[0][0]  # noqa: A001
    if format not in SUPPORTED:
        remedy = f" Or {_REMEDIES[format]}." if format in _REMEDIES else ""
        raise SampleError(
            f"Rows of format {format} cannot be run by this version. {_what_is_supported()}{remedy}"
        )
    return Layout(format=format, columns=columns, role_mapping=dict(role_mapping or {}))


def _what_is_supported() -> str:
    return (
        "Supported are MESSAGES (messages: role, content), PROMPT_COMPLETION (prompt, completion), "
        "TEXT (text) and TOKENIZED (input_ids, labels)."
    )


def _format_of(row: Mapping[str, Any], columns: Mapping[str, str]) -> str | None:
    for name, signs in _SIGNS:
        if all(columns.get(sign, sign) in row for sign in signs):
            return name
    return None


def _integers(value: Any, name: str) -> list[int]:
    if not isinstance(value, list):
        raise RowError(f"field {name!r} is {_kind(value)}, not a list of numbers")
    if any(isinstance(item, list) for item in value):
        raise RowError(f"field {name!r} is a nested list: give one flat list of numbers per row")
    numbers = []
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int | float):
            raise RowError(f"field {name!r} holds {_kind(item)} where a whole number is needed")
        if not -(2**31) <= item < 2**31 or item != int(item):
            raise RowError(f"field {name!r} holds a number that is no token id")
        numbers.append(int(item))
    return numbers


def _encodable(text: str, name: str) -> str:
    """A lone surrogate (half of a pair, from an escape cut in two) is no text: tokenizers refuse it."""
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowError(f"{name} holds half of a surrogate pair at character {error.start + 1}") from error
    return text


def _names(value: Mapping[str, Any]) -> str:
    return ", ".join(repr(str(key)[:40]) for key in list(value)[:8]) or "no fields"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    return {dict: "an object", list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number")

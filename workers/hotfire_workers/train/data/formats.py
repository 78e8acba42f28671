"""The layout of the rows: which one it is, and each row brought to one shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hotfire_workers.train.data.conversation import messages_of, tools_of
from hotfire_workers.train.data.ids import integers_of
from hotfire_workers.train.data.rowerror import RowError, encodable, kind_of, names_of
from hotfire_workers.train.data.stream import SampleError

__all__ = ["SHAPES", "Item", "Layout", "RowError", "layout_of"]

SHAPES = {
    "MESSAGES": "MESSAGES",
    "SHAREGPT": "MESSAGES",
    "ALPACA": "MESSAGES",
    "PREFERENCE": "PROMPT_COMPLETION",
    "PROMPT_COMPLETION": "PROMPT_COMPLETION",
    "TEXT": "TEXT",
    "TOKENIZED": "TOKENIZED",
}
"""Format -> how its rows are tokenised and masked."""

_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("TOKENIZED", ("input_ids",)),
    ("PREFERENCE", ("chosen", "rejected")),
    ("MESSAGES", ("messages",)),
    ("PROMPT_COMPLETION", ("prompt", "completion")),
    ("SHAREGPT", ("conversations",)),
    ("ALPACA", ("instruction", "output")),
    ("TEXT", ("text",)),
)
"""Format -> the columns that tell it, in the order in which they are tried."""

_ALPACA = (
    "Below is an instruction that describes a task{input_words}. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{instruction}\n\n{input_part}### Response:\n"
)
"""The prompt of stanford_alpaca, for tokenizers without a chat template."""


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
    worse: Item | None = None
    """Of a preference pair: the same prompt with the rejected answer."""

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
    has_template: bool = True
    """ALPACA rows become conversations; without a chat template they become the prompt of stanford_alpaca."""
    end_text: str = ""
    """Put behind the answer of such a text, as its training script does."""

    @property
    def shape(self) -> str:
        """How the rows are tokenised and masked: MESSAGES, PROMPT_COMPLETION, TEXT or TOKENIZED."""
        if self.format == "ALPACA" and not self.has_template:
            return "PROMPT_COMPLETION"
        return SHAPES[self.format]

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
            case "SHAREGPT":
                item = self._sharegpt(row, value)
            case "ALPACA":
                item = self._alpaca(row, value)
            case "PREFERENCE":
                item = self._preference(row, value)
            case "PROMPT_COMPLETION":
                item = self._prompt_completion(row, value)
            case "TEXT":
                item = Item(row=row, text=self._text(value, "text"))
            case _:
                item = self._tokenized(row, value)
        tools = value.get(self.name("tools"))
        if item.messages is not None and tools:
            item.tools = tools_of(tools, self.name("tools"))
            if item.worse is not None:
                item.worse.tools = item.tools
        return item

    # ---- fields ----

    def _field(self, value: Mapping[str, Any], column: str) -> Any:
        name = self.name(column)
        if name not in value:
            raise RowError(f"no field {name!r}; the row has {names_of(value)}")
        if value[name] is None:
            raise RowError(f"field {name!r} is null")
        return value[name]

    def _text(self, value: Mapping[str, Any], column: str, *, default: str | None = None) -> str:
        name = self.name(column)
        if default is not None and value.get(name) is None:
            return default
        text = self._field(value, column)
        if not isinstance(text, str):
            raise RowError(f"field {name!r} is {kind_of(text)}, not a text")
        return encodable(text, name)

    def _messages(self, value: Mapping[str, Any], column: str) -> list[dict[str, Any]]:
        return messages_of(self._field(value, column), self.name(column), self.role_mapping)

    # ---- formats ----

    def _prompt_completion(self, row: int, value: Mapping[str, Any]) -> Item:
        prompt, completion = self._field(value, "prompt"), self._field(value, "completion")
        if isinstance(prompt, list) and isinstance(completion, list):
            before, after = self._messages(value, "prompt"), self._messages(value, "completion")
            return Item(row=row, messages=before + after, num_prompt_messages=len(before))
        return _plain_item(row, self._text(value, "prompt"), self._text(value, "completion"))

    def _sharegpt(self, row: int, value: Mapping[str, Any]) -> Item:
        messages = self._conversations(value)
        system = self._text(value, "system", default="")
        if system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": system}, *messages]
        return Item(row=row, messages=messages)

    def _conversations(self, value: Mapping[str, Any]) -> list[dict[str, Any]]:
        turns = self._field(value, "conversations")
        return messages_of(turns, self.name("conversations"), self.role_mapping, is_sharegpt=True)

    def _alpaca(self, row: int, value: Mapping[str, Any]) -> Item:
        messages = self._alpaca_prompt(value)
        answer = self._text(value, "output")
        if self.has_template:
            messages.append({"role": "assistant", "content": answer})
            return Item(row=row, messages=messages, num_prompt_messages=len(messages) - 1)
        given = self._text(value, "input", default="")
        prompt = _ALPACA.format(
            input_words=", paired with an input that provides further context" if given else "",
            instruction=self._text(value, "instruction"),
            input_part=f"### Input:\n{given}\n\n" if given else "",
        )
        return _plain_item(row, prompt, answer + self.end_text)

    def _alpaca_prompt(self, value: Mapping[str, Any]) -> list[dict[str, Any]]:
        """System, history and the question, as LLaMA-Factory puts them together."""
        system = self._text(value, "system", default="")
        messages = [{"role": "system", "content": system}] if system else []
        name = self.name("history")
        history = value.get(name) or []
        for i, turn in enumerate(history if isinstance(history, list) else [history]):
            if not (isinstance(turn, list) and len(turn) == 2 and all(isinstance(t, str) for t in turn)):
                raise RowError(f"{name}[{i}] is no pair of a question and its answer")
            asked, answered = (encodable(t, f"{name}[{i}]") for t in turn)
            messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        parts = [self._text(value, "instruction"), self._text(value, "input", default="")]
        return [*messages, {"role": "user", "content": "\n".join(part for part in parts if part)}]

    def _tokenized(self, row: int, value: Mapping[str, Any]) -> Item:
        name = self.name("input_ids")
        ids = integers_of(self._field(value, "input_ids"), name)
        if not ids:
            raise RowError(f"field {name!r} is an empty list: the row has no tokens", kind="no-tokens")
        item = Item(row=row, input_ids=ids)
        for column in ("labels", "attention_mask"):
            name = self.name(column)
            if value.get(name) is not None:
                numbers = integers_of(value[name], name)
                if len(numbers) != len(ids):
                    raise RowError(f"field {name!r} has {len(numbers)} numbers, the ids are {len(ids)}")
                setattr(item, column, numbers)
        return item

    # ---- preference pairs ----

    def _preference(self, row: int, value: Mapping[str, Any]) -> Item:
        chosen, rejected = self._field(value, "chosen"), self._field(value, "rejected")
        if isinstance(chosen, dict) and isinstance(rejected, dict):  # one turn each, as LLaMA-Factory has it
            chosen, rejected = [chosen], [rejected]
        if isinstance(chosen, list) != isinstance(rejected, list):
            raise RowError(
                f"field {self.name('chosen')!r} is {kind_of(chosen)} and {self.name('rejected')!r} is "
                f"{kind_of(rejected)}: both must be texts, or both lists of messages"
            )
        if chosen == rejected:
            raise RowError("the chosen and the rejected answer are the same: there is nothing to prefer")
        if isinstance(chosen, list):
            return self._conversational_pair(row, value, chosen, rejected)
        chosen, rejected = self._text(value, "chosen"), self._text(value, "rejected")
        if self.name("prompt") in value:
            prompt = value[self.name("prompt")]
            if isinstance(prompt, list):
                raise RowError(
                    f"field {self.name('prompt')!r} is a list of messages and the answers are texts: both "
                    "must be of one kind"
                )
            prompt = self._text(value, "prompt")
        elif self.name("instruction") in value or self.name("conversations") in value:
            answers = ([{"role": "assistant", "content": text}] for text in (chosen, rejected))
            return self._conversational_pair(row, value, *answers)
        else:
            prompt = chosen[: _num_common(chosen, rejected)]
            if prompt.endswith(" "):  # as TRL's extract_prompt: the space belongs to the answers
                prompt = prompt[:-1]
            chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
        item = _plain_item(row, prompt, chosen)
        item.worse = _plain_item(row, prompt, rejected)
        return item

    def _conversational_pair(
        self, row: int, value: Mapping[str, Any], chosen: list[Any], rejected: list[Any]
    ) -> Item:
        is_sharegpt = any("from" in turn for turn in chosen if isinstance(turn, dict))
        better, worse = (
            messages_of(turns, self.name(name), self.role_mapping, is_sharegpt=is_sharegpt)
            for name, turns in (("chosen", chosen), ("rejected", rejected))
        )
        prompt = self._prompt_of_pair(value, better)
        if not prompt:
            common = _num_common(better, worse)
            prompt, better, worse = better[:common], better[common:], worse[common:]
        if not prompt or not better or not worse:
            missing = "no answer" if prompt else "no prompt"
            raise RowError(f"the pair has {missing}: the chosen and the rejected turns must differ behind it")
        item = Item(row=row, messages=prompt + better, num_prompt_messages=len(prompt))
        item.worse = Item(row=row, messages=prompt + worse, num_prompt_messages=len(prompt))
        return item

    def _prompt_of_pair(self, value: Mapping[str, Any], better: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The turns before the answers; none where the answers hold them."""
        if self.name("conversations") in value:
            return self._conversations(value)
        if self.name("instruction") in value:
            return self._alpaca_prompt(value)
        prompt = value.get(self.name("prompt"))
        if prompt is None:
            return []
        if isinstance(prompt, list):
            return self._messages(value, "prompt")
        text = self._text(value, "prompt")
        # UltraFeedback repeats the prompt as the first turns of both answers.
        return [] if len(better) > 1 else [{"role": "user", "content": text}]


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
        SampleError: Not a format that is known.
    """
    columns = dict(columns or {})
    if format in ("AUTO", "UNSPECIFIED", ""):
        found = Counter(name for row in rows if (name := _format_of(row, columns)))
        if not found:
            seen = Counter(key for row in rows for key in row)
            names = ", ".join(repr(str(key)[:40]) for key, _ in seen.most_common(8)) or "no fields at all"
            raise SampleError(
                f"The layout of the rows is not known: they have {names}. {_KNOWN} "
                "If the columns have other names, say so in data.columns."
            )
        format = found.most_common(1)[0][0]  # noqa: A001
    if format not in SHAPES:
        raise SampleError(f"data.format {format} is not known. {_KNOWN}")
    return Layout(format=format, columns=columns, role_mapping=dict(role_mapping or {}))


_KNOWN = (
    "Known are MESSAGES (messages: role, content), SHAREGPT (conversations: from, value), ALPACA (instruction, "
    "input, output), PROMPT_COMPLETION (prompt, completion), PREFERENCE (prompt, chosen, rejected), TEXT (text) "
    "and TOKENIZED (input_ids, labels)."
)


def _format_of(row: Mapping[str, Any], columns: Mapping[str, str]) -> str | None:
    for name, signs in _SIGNS:
        if all(columns.get(sign, sign) in row for sign in signs):
            return name
    return None


def _plain_item(row: int, prompt: str, completion: str) -> Item:
    return Item(row=row, text=prompt + completion, prompt=prompt, completion=completion)


def _num_common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many elements both begin with."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )

"""The chat template at work: ids, the mask of `{% generation %}`, and what it does with a role."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from hotfire_workers.train.data.guard import TookTooLongError, time_limit
from hotfire_workers.train.data.rowerror import RowError

_LIMIT_S = 5.0
"""For rendering one row. A template may loop for ever."""
_SHORT_LIMIT_S = 0.5
"""When it has done so a few times."""
_MAX_SLOW = 3
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_MARK = "hotfirerolemark"

ALIASES = {
    "human": "user",
    "prompter": "user",
    "question": "user",
    "usr": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "chatbot": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "answer": "assistant",
    "response": "assistant",
    "assitant": "assistant",
    "asistant": "assistant",
    "observation": "tool",
    "function_response": "tool",
    "function": "tool",
    "instruction": "system",
}
"""Role names seen in public data -> the role that chat templates know."""


class ChatTemplate:
    """The job's chat template on the job's tokenizer.

    Args:
        tokenizer: A Hugging Face tokenizer with a chat template.
        add_special_tokens: None: the template's own ids. Else: render to text and tokenise with this flag.
    """

    def __init__(self, tokenizer: Any, *, add_special_tokens: bool | None):
        self.tokenizer = tokenizer
        self.add_special_tokens = add_special_tokens
        self._roles: dict[str, str | None] = {}
        self._num_slow = 0

    @cached_property
    def is_plain(self) -> bool:
        """Rendering and then tokenising is what the tokenizer's own `apply_chat_template` does.

        Not where a tokenizer brings its own method: then only that one tells what the job gets.
        """
        from transformers import PreTrainedTokenizerBase

        own = getattr(self.tokenizer.apply_chat_template, "__func__", None)
        return own is PreTrainedTokenizerBase.apply_chat_template

    @cached_property
    def source(self) -> str:
        """The Jinja text in use."""
        return str(self.tokenizer.get_chat_template())

    @cached_property
    def has_generation(self) -> bool:
        """Whether it marks the assistant's tokens itself, and the tokenizer can tell where they are."""
        return bool(_GENERATION.search(self.source)) and bool(getattr(self.tokenizer, "is_fast", False))

    @cached_property
    def num_added_at_end(self) -> int:
        """Special tokens that the tokenizer itself puts behind a text."""
        return _added(self.tokenizer)[1] if self.add_special_tokens else 0

    def text(self, messages: list[dict[str, Any]], *, prompt: bool = False, tools: Any = None) -> str:
        """Renders a conversation.

        Raises:
            RowError: The template refuses it (kind "template").
        """
        return str(self._apply(messages, prompt, tools, tokenize=False))

    def texts(self, conversations: list[list[dict[str, Any]]], *, prompt: bool) -> list[str] | None:
        """Renders several conversations (without tools) in one call, which is quicker; None: not all of them.

        Which one it was, and why, only `text` tells.
        """
        try:
            return list(self._bounded(conversations, add_generation_prompt=prompt, tokenize=False))
        except Exception:  # noqa: BLE001 - a template may raise anything
            return None

    def ids(self, messages: list[dict[str, Any]], *, prompt: bool = False, tools: Any = None) -> list[int]:
        """Token ids of a conversation.

        Args:
            messages: Role and content.
            prompt: Add the header that asks for an assistant's turn.
            tools: Passed to the template.

        Raises:
            RowError: The template refuses it, or does not give one flat list of ids (kind "template").
        """
        if self.add_special_tokens is not None:
            return self.ids_of_text(self.text(messages, prompt=prompt, tools=tools))
        return _flat(self._apply(messages, prompt, tools, tokenize=True, return_dict=False))

    def ids_of_text(self, text: str) -> list[int]:
        """Token ids of a rendered text."""
        return list(self.tokenizer(text, add_special_tokens=bool(self.add_special_tokens))["input_ids"])

    def ids_and_mask(
        self, messages: list[dict[str, Any]], *, tools: Any = None
    ) -> tuple[list[int], list[bool]]:
        """Token ids, and which of them `{% generation %}` marks.

        Raises:
            RowError: As `ids`; or the marks cannot be carried over to the tokenised text.
        """
        marked = self._apply(
            messages, False, tools, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = _flat(marked["input_ids"]), [bool(m) for m in marked["assistant_masks"]]
        if self.add_special_tokens is None:
            return ids, mask
        wrapped = self.ids(messages, tools=tools)
        for shift in range(len(wrapped) - len(ids) + 1):
            if wrapped[shift : shift + len(ids)] == ids:
                behind = len(wrapped) - len(ids) - shift
                return wrapped, [False] * shift + mask + [False] * behind
        raise RowError("the marks of {% generation %} do not fit the tokenised text", kind="template")

    def _apply(self, messages: list[dict[str, Any]], prompt: bool, tools: Any, **how: Any) -> Any:
        try:
            return self._bounded(messages, add_generation_prompt=prompt, tools=tools, **how)
        except TookTooLongError as error:
            self._num_slow += 1
            raise RowError(
                f"the chat template does not come to an end on the row ({error})", kind="template"
            ) from error
        except MemoryError as error:
            raise RowError("the chat template takes too much memory on the row", kind="template") from error
        except Exception as error:
            reason = _without_contents(str(error), messages) or type(error).__name__
            raise RowError(f"the chat template refuses the row: {reason}", kind="template") from error

    def _bounded(self, messages: list[Any], **how: Any) -> Any:
        with time_limit(_LIMIT_S if self._num_slow < _MAX_SLOW else _SHORT_LIMIT_S):
            return self.tokenizer.apply_chat_template(messages, **how)

    def check(self) -> None:
        """Raises whatever the template raises on the shortest conversation; a loop without end too."""
        self._bounded([{"role": "user", "content": "hello"}], tokenize=False)

    # ---- roles ----

    def role_problem(self, role: str) -> str | None:
        """Why this role cannot be used with the template; None if it can.

        A role is tried with a marked text: a template that raises refuses it, one that leaves the text out
        drops it. A template that writes any role as it is may write a name the model has never seen: that
        is told from a well-known alias (human, gpt) for which the tokenizer has no token of its own.
        """
        if role not in self._roles:
            self._roles[role] = self._find_role_problem(role)
        return self._roles[role]

    def suggestion(self, role: str) -> str | None:
        """A role of the template that this one can be mapped to, if there is one."""
        better = ALIASES.get(role.strip().lower(), role.strip().lower())
        return better if better != role and self.role_problem(better) is None else None

    def suggestions(self) -> dict[str, str]:
        """Every role that was met and cannot be used -> the role it can be mapped to."""
        met = [role for role, problem in self._roles.items() if problem is not None]
        return {role: better for role in met if (better := self.suggestion(role))}

    def _find_role_problem(self, role: str) -> str | None:
        turn = {"role": role, "content": _MARK}
        user = {"role": "user", "content": "hello"}
        call = {"role": "assistant", "content": "hello"}
        tries = ([user, turn, call, user], [user, call, turn], [user, turn], [turn, user], [turn])
        num_refused = 0
        for messages in tries:
            try:
                rendered = self._bounded(messages, tokenize=False)
            except Exception:  # noqa: BLE001 - as above
                num_refused += 1
                continue
            if _MARK in rendered:
                return self._unseen(role)
        if num_refused < len(tries):
            return f"the chat template drops the role {role[:40]!r}"
        if role != "user" and self._renders(user):
            return f"the chat template refuses the role {role[:40]!r}"
        return None  # it refuses whatever it is given: that is not the role's fault

    def _renders(self, *messages: dict[str, Any]) -> bool:
        try:
            self._bounded(list(messages), tokenize=False)
        except Exception:  # noqa: BLE001 - as above
            return False
        return True

    def _unseen(self, role: str) -> str | None:
        """The template takes the role: is it one of the model's?"""
        if role.strip().lower() not in ALIASES or re.search(rf"""['"]{re.escape(role)}['"]""", self.source):
            return None
        if f"<|{role}|>" in self.tokenizer.get_added_vocab():
            return None
        return (
            f"the chat template writes the role {role[:40]!r} as it is, a name that the model does not know"
        )


def added_tokens(tokenizer: Any, *, add_special_tokens: bool | None) -> tuple[int, int]:
    """How many special tokens the tokenizer puts (before, behind) a text when it is asked to."""
    return (0, 0) if add_special_tokens is False else _added(tokenizer)


def _added(tokenizer: Any) -> tuple[int, int]:
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    for before in range(len(full) - len(bare) + 1):
        if list(full[before : before + len(bare)]) == list(bare):
            return before, len(full) - len(bare) - before
    return 0, 0


def _without_contents(text: str, messages: list[dict[str, Any]]) -> str:
    """A template's own words, short, without the row's: those are private."""
    contents = [c for m in messages if isinstance(c := m.get("content"), str) and c.strip()]
    for content in sorted(contents, key=len, reverse=True):
        text = text.replace(content, "...") if len(content) > 3 else text
    return " ".join(text.split())[:200]


def _flat(ids: Any) -> list[int]:
    if isinstance(ids, list) and all(type(i) is int for i in ids):
        return ids
    is_nested = isinstance(ids, list) and any(isinstance(i, list) for i in ids)
    raise RowError(
        f"apply_chat_template gives {'a nested list' if is_nested else 'something'}, not one flat list of token "
        "ids: code that slices it loses every token. Update the tokenizer's files.",
        kind="nested-output" if is_nested else "template",
    )

"""Rows as token ids, and which of them are to be trained, before truncation and before the collator."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from hotfire_workers.train.data.formats import Item, RowError
from hotfire_workers.train.data.template import ChatTemplate, added_tokens

IGNORED = -100
"""The label that the loss does not look at."""


@dataclass(kw_only=True, slots=True)
class Encoded:
    """One row as ids and labels: whole, and before any collator."""

    row: int
    input_ids: list[int]
    labels: list[int]
    attention_mask: list[int] | None = None
    """Only where the data brings its own."""
    prefix_ok: bool | None = None
    answers: list[str] | None = None
    """The texts that are to be learnt, where they are known."""


class Encoder:
    """Turns rows into ids and labels the way the job does.

    Args:
        tokenizer: The job's tokenizer; may be None for rows that are tokenised already.
        training: The training arguments.
        format: Format of the rows.
        end_ids: Ids that end a sequence or a turn.

    Attributes:
        mask_source: How the mask is made, as in `DataEvidence.mask_source`.
        notes: What the arguments ask for and these rows cannot give.
        unknown_roles: Roles that the template does not know -> rows that have them.
    """

    def __init__(self, tokenizer: Any, training: dict[str, Any], *, format: str, end_ids: frozenset[int]):  # noqa: A002
        self._tokenizer = tokenizer
        self._format = format
        self._end_ids = end_ids
        self._add_special_tokens: bool | None = training.get("add_special_tokens")
        masks_prompt = training.get("collator") == "COMPLETION"
        self._assistant_only = _flag(training, "assistant_only_loss", masks_prompt and format == "MESSAGES")
        self._completion_only = _flag(
            training, "completion_only_loss", masks_prompt and format == "PROMPT_COMPLETION"
        )
        self.template = (
            ChatTemplate(tokenizer, add_special_tokens=self._add_special_tokens)
            if tokenizer is not None and tokenizer.chat_template
            else None
        )
        self.unknown_roles: Counter[str] = Counter()
        self.notes = self._unmet()
        self.mask_source = self._mask_source()

    def _unmet(self) -> list[str]:
        notes = []
        if self._assistant_only and self._format in ("TEXT", "TOKENIZED"):
            notes.append(f"assistant_only_loss has no effect on rows of format {self._format}")
        if self._completion_only and self._format != "PROMPT_COMPLETION":
            notes.append(f"completion_only_loss has no effect on rows of format {self._format}")
            if self._format == "MESSAGES" and not self._assistant_only:
                notes.append("to train only on the answers of MESSAGES rows set assistant_only_loss")
        return notes

    def _mask_source(self) -> str:
        if self._format == "TOKENIZED":
            return "all"  # `encode` says "labels" once a row has some
        if self._format == "PROMPT_COMPLETION" and self._completion_only:
            return "completion"
        if self._assistant_only and self._format in ("MESSAGES", "PROMPT_COMPLETION"):
            return "generation" if self.template is not None and self.template.has_generation else "prefix"
        return "all"

    def encode(self, item: Item) -> Encoded:
        """Tokenises one row.

        Raises:
            RowError: The template refuses it, or nothing is left of it.
        """
        if item.input_ids is not None:
            if item.labels is not None:
                self.mask_source = "labels"
            ids, mask, prefix_ok = item.input_ids, None, None
        elif item.messages is not None:
            self._check_roles(item)
            ids, mask, prefix_ok = self._conversation(item)
        else:
            ids, mask, prefix_ok = self._plain(item)
        if not ids:
            raise RowError("the row has no tokens")
        labels = item.labels or (
            list(ids) if mask is None else [i if m else IGNORED for i, m in zip(ids, mask, strict=True)]
        )
        return Encoded(
            row=item.row,
            input_ids=ids,
            labels=labels,
            attention_mask=item.attention_mask,
            prefix_ok=prefix_ok,
            answers=item.answers,
        )

    # ---- plain text ----

    def _plain(self, item: Item) -> tuple[list[int], list[bool] | None, bool | None]:
        ids = self._tokens(item.text or "")
        if item.prompt is None or not self._completion_only:
            return ids, None, None
        prompt = self._tokens(item.prompt)
        behind = added_tokens(self._tokenizer, add_special_tokens=self._add_special_tokens)[1]
        prompt = prompt[: len(prompt) - behind]
        # The job masks as many tokens as the prompt has, also where the two do not meet at a token's edge.
        return ids, [i >= len(prompt) for i in range(len(ids))], ids[: len(prompt)] == prompt

    def _tokens(self, text: str) -> list[int]:
        how = {} if self._add_special_tokens is None else {"add_special_tokens": self._add_special_tokens}
        return list(self._tokenizer(text, **how)["input_ids"])

    # ---- conversations ----

    @property
    def _chat(self) -> ChatTemplate:
        if self.template is None:
            raise RowError(
                "conversations need a chat template and the tokenizer has none: set training.chat_template"
            )
        return self.template

    def _check_roles(self, item: Item) -> None:
        """A row with a role that the template cannot say is of no use, even where it renders."""
        roles = dict.fromkeys(message["role"] for message in item.messages or [])
        problems = {role: problem for role in roles if (problem := self._chat.role_problem(role))}
        if not problems or (all("refuses" in p for p in problems.values()) and not self._is_refused(item)):
            return
        self.unknown_roles.update(problems.keys())
        mapping = {role: hint for role in problems if (hint := self._chat.suggestion(role))}
        remedy = ", ".join(f"{role[:40]}: {hint}" for role, hint in mapping.items())
        raise RowError(
            "; ".join(problems.values())
            + (f"; data.role_mapping {{{remedy}}} would work" if mapping else ""),
            kind="unknown-role",
        )

    def _is_refused(self, item: Item) -> bool:
        try:
            self._chat.text(item.messages or [], tools=item.tools)
        except RowError:
            return True
        return False

    def _conversation(self, item: Item) -> tuple[list[int], list[bool] | None, bool | None]:
        messages, tools = item.messages or [], item.tools
        wants_completion = self._completion_only and item.num_prompt_messages is not None
        if not self._assistant_only and not wants_completion:
            return self._chat.ids(messages, tools=tools), None, None
        ids, mask, prefix_ok = [], None, None
        if self._assistant_only:
            if self._chat.has_generation:
                ids, mask = self._chat.ids_and_mask(messages, tools=tools)
            else:
                ids, mask, prefix_ok = self._prefix_difference(messages, tools)
        if wants_completion:
            num_prompt = item.num_prompt_messages or 0
            asks = bool(num_prompt) and messages[num_prompt - 1]["role"] != "assistant"
            ids = ids or self._chat.ids(messages, tools=tools)
            prompt = self._open_ids(messages[:num_prompt], asks, tools) if num_prompt else []
            is_completion = [i >= len(prompt) for i in range(len(ids))]
            mask = [a and b for a, b in zip(mask or is_completion, is_completion, strict=True)]
            prefix_ok = prefix_ok is not False and ids[: len(prompt)] == prompt
        return ids, mask, prefix_ok

    def _prefix_difference(
        self, messages: list[dict[str, Any]], tools: Any
    ) -> tuple[list[int], list[bool], bool | None]:
        """The assistant's tokens as what a turn adds to the conversation before it.

        Both the ids before and the ids after the turn must be a prefix of the whole row's ids. Where they are
        not (a template that rewrites earlier turns), the span would cover something else: it is not trained.
        """
        whole = self._chat.ids(messages, tools=tools)
        mask, ok = [False] * len(whole), None
        for k, message in enumerate(messages):
            if (
                message["role"] != "assistant" or k == 0
            ):  # before the first message there is no prompt to cut off
                continue
            try:
                before = self._open_ids(messages[:k], True, tools)
                is_last = k + 1 == len(messages)
                after = whole if is_last else self._open_ids(messages[: k + 1], False, tools)
            except RowError:
                ok = False
                continue
            if not is_last and whole[: len(after)] != after:
                after = self._without_end(after)
            if whole[: len(before)] == before and whole[: len(after)] == after:
                mask[len(before) : len(after)] = [True] * (len(after) - len(before))
                ok = ok is not False
            else:
                ok = False
        return whole, mask, ok

    def _without_end(self, ids: list[int]) -> list[int]:
        """Without end tokens that a template puts behind the last turn only, whichever turn that is."""
        num = len(ids)
        while num and ids[num - 1] in self._end_ids:
            num -= 1
        return ids[:num]

    def _open_ids(self, messages: list[dict[str, Any]], prompt: bool, tools: Any) -> list[int]:
        """Ids of a conversation that goes on: without what the tokenizer puts at the end of a text."""
        ids = self._chat.ids(messages, prompt=prompt, tools=tools)
        return ids[: len(ids) - self._chat.num_added_at_end]


def _flag(training: dict[str, Any], name: str, default: bool) -> bool:
    value = training.get(name)
    return default if value is None else bool(value)

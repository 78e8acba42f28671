"""Rows as token ids, and which of them are to be trained, before truncation and before the collator."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hotfire_workers.train.data.batches import Batches
from hotfire_workers.train.data.formats import Item, RowError
from hotfire_workers.train.data.prefixes import Marks, Prefixes
from hotfire_workers.train.data.roles import order_is_to_blame
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
    worse: Encoded | None = None
    """Of a preference pair: the same prompt with the rejected answer."""


@dataclass(kw_only=True, slots=True)
class _Draft:
    """A row on its way."""

    item: Item
    text: str | None = None
    """What is tokenised; None: the ids are there already."""
    ids: list[int] = field(default_factory=list)
    mask: list[bool] | None = None
    spans: list[tuple[int, int]] | None = None
    """What is trained, as (begin, end); in place of `mask`."""
    rendered: dict[tuple[int, bool], str] = field(default_factory=dict)
    """(first turns, with the header that asks for an answer) -> text, as far as it was rendered in a batch."""
    prefix_ok: bool | None = None
    marks: Marks | None = None
    problem: RowError | None = None


@dataclass(kw_only=True, slots=True)
class Begun:
    """Several rows on their way, in their order."""

    drafts: list[_Draft | RowError]
    worse: dict[int, _Draft | RowError]
    """Of preference pairs: place of the row -> its rejected side."""
    tokenised: list[tuple[list[_Draft], Callable[[], list[list[int] | RowError]]]]
    """Texts that are being tokenised, and what waits for their ids."""


class Encoder:
    """Turns rows into ids and labels the way the job does.

    Args:
        tokenizer: The job's tokenizer; may be None for rows that are tokenised already.
        training: The training arguments.
        shape: How the rows are tokenised, as `Layout.shape`.
        end_ids: Ids that end a sequence or a turn.
        only_completion: The format itself trains on the completion alone, as preference pairs do.

    Attributes:
        mask_source: How the mask is made, as in `DataEvidence.mask_source`.
        notes: What the arguments ask for and these rows cannot give.
        unknown_roles: Roles that the template does not know -> rows that have them.
    """

    def __init__(
        self,
        tokenizer: Any,
        training: dict[str, Any],
        *,
        shape: str,
        end_ids: frozenset[int],
        only_completion: bool = False,
    ):
        self._tokenizer = tokenizer
        self._shape = shape
        self._end_ids = end_ids
        self._add_special_tokens: bool | None = training.get("add_special_tokens")
        masks_prompt = training.get("collator") == "COMPLETION"
        self._assistant_only = _flag(training, "assistant_only_loss", masks_prompt and shape == "MESSAGES")
        self._completion_only = only_completion or _flag(
            training, "completion_only_loss", masks_prompt and shape == "PROMPT_COMPLETION"
        )
        self.template = (
            ChatTemplate(tokenizer, add_special_tokens=self._add_special_tokens)
            if tokenizer is not None and tokenizer.chat_template
            else None
        )
        self._prefixes = Prefixes(tokenizer) if tokenizer is not None else None
        self._batches = Batches(tokenizer)
        self.unknown_roles: Counter[str] = Counter()
        self.notes = self._unmet()
        self.mask_source = self._mask_source()

    def _unmet(self) -> list[str]:
        notes = []
        if self._assistant_only and self._shape in ("TEXT", "TOKENIZED"):
            notes.append(f"assistant_only_loss has no effect on rows of format {self._shape}")
        if self._completion_only and self._shape != "PROMPT_COMPLETION":
            notes.append(f"completion_only_loss has no effect on rows of format {self._shape}")
            if self._shape == "MESSAGES" and not self._assistant_only:
                notes.append("to train only on the answers of MESSAGES rows set assistant_only_loss")
        return notes

    def _mask_source(self) -> str:
        if self._shape == "TOKENIZED":
            return "all"  # `encode` says "labels" once a row has some
        if self._shape == "PROMPT_COMPLETION" and self._completion_only:
            return "completion"
        if self._assistant_only and self._shape in ("MESSAGES", "PROMPT_COMPLETION"):
            return "generation" if self._marks_answers else "prefix"
        return "all"

    @property
    def _marks_answers(self) -> bool:
        return self.template is not None and self.template.has_generation

    # ---- rows ----

    def encode(self, item: Item) -> Encoded:
        """Tokenises one row.

        Raises:
            RowError: The template refuses it, or nothing is left of it.
        """
        (encoded,) = self.encode_all([item])
        if isinstance(encoded, RowError):
            raise encoded
        return encoded

    def encode_all(self, items: Sequence[Item]) -> list[Encoded | RowError]:
        """Tokenises several rows in one call of the tokenizer; what is wrong with one concerns no other."""
        return self.finish(self.begin(items))

    def begin(self, items: Sequence[Item]) -> Begun:
        """Renders several rows and has them tokenised, which may go on while the caller does something else."""
        drafts: list[_Draft | RowError] = []
        worse: dict[int, _Draft | RowError] = {}
        rendered = self._render([i for item in items for i in (item, item.worse) if i is not None])
        for index, item in enumerate(items):
            drafts.append(self._try(self._draft, item, rendered))
            if item.worse is not None:
                worse[index] = self._try(self._draft, item.worse, rendered)
        texts = [d for d in (*drafts, *worse.values()) if isinstance(d, _Draft) and d.text is not None]
        tokenised = []
        for are_chats in (False, True):
            batch = [d for d in texts if (d.item.messages is not None) is are_chats]
            if batch:
                flag = bool(self._add_special_tokens) if are_chats else self._add_special_tokens
                ids = self._batches.begin([d.text or "" for d in batch], add_special_tokens=flag)
                tokenised.append((batch, ids))
        return Begun(drafts=drafts, worse=worse, tokenised=tokenised)

    def finish(self, begun: Begun) -> list[Encoded | RowError]:
        """Waits for the ids, and makes the labels."""
        for batch, ids in begun.tokenised:
            for draft, found in zip(batch, ids(), strict=True):
                if isinstance(found, RowError):
                    draft.problem = found
                else:
                    draft.ids = found
        worse, done = begun.worse, list[Encoded | RowError]()
        for index, draft in enumerate(begun.drafts):
            encoded = self._try(self._finish, draft)
            if index in worse and isinstance(encoded, Encoded):
                other = self._try(self._finish, worse[index])
                if isinstance(other, RowError):
                    encoded = RowError(f"the rejected answer: {other}", kind=other.kind)
                else:
                    encoded.worse = other
            done.append(encoded)
        return done

    def _try(self, step: Any, given: Any, *more: Any) -> Any:
        try:
            return given if isinstance(given, RowError) else step(given, *more)
        except RowError as error:
            return error

    def _render(self, items: Sequence[Item]) -> dict[int, dict[tuple[int, bool], str]]:
        """Renders what the rows will need in two calls; by the rows' identity. A shortcut: rows may be missing."""
        chat, rendered = self.template, defaultdict[int, dict[tuple[int, bool], str]](dict)
        if chat is None or not chat.is_plain or (self._assistant_only and chat.has_generation):
            return rendered
        wanted: dict[bool, list[tuple[Item, int]]] = {False: [], True: []}
        for item in items:
            messages = item.messages
            if messages is None or item.tools or any(chat.role_problem(m["role"]) for m in messages):
                continue
            wanted[False].append((item, len(messages)))
            if self._assistant_only:
                for k, message in enumerate(messages):
                    if message["role"] == "assistant" and k:
                        wanted[True].append((item, k))
                        if k + 1 < len(messages):
                            wanted[False].append((item, k + 1))
        for prompt, parts in wanted.items():
            texts = (
                chat.texts([(i.messages or [])[:num] for i, num in parts], prompt=prompt) if parts else None
            )
            for (item, num), text in zip(parts, texts or (), strict=False):
                rendered[id(item)][num, prompt] = text
        return rendered

    def _draft(self, item: Item, rendered: Mapping[int, dict[tuple[int, bool], str]]) -> _Draft:
        """What of the row is to be tokenised."""
        if item.input_ids is not None:
            if item.labels is not None:
                self.mask_source = "labels"
            return _Draft(item=item, ids=item.input_ids)
        if item.messages is None:
            return _Draft(item=item, text=item.text or "")
        self._check_roles(item)
        try:
            return self._chat_draft(item, rendered.get(id(item), {}))
        except RowError as error:
            if error.kind == "template" and order_is_to_blame(self._chat, item.messages, item.tools):
                raise RowError(str(error), kind="role-order") from error
            raise

    def _chat_draft(self, item: Item, rendered: dict[tuple[int, bool], str]) -> _Draft:
        messages, tools = item.messages or [], item.tools
        if self._assistant_only and self._chat.has_generation:
            ids, mask = self._chat.ids_and_mask(messages, tools=tools)
            return _Draft(item=item, ids=ids, mask=mask)
        if not self._chat.is_plain:
            return _Draft(item=item, ids=self._chat.ids(messages, tools=tools))
        text = rendered.get((len(messages), False))
        return _Draft(
            item=item,
            text=self._chat.text(messages, tools=tools) if text is None else text,
            rendered=rendered,
        )

    def _finish(self, draft: _Draft) -> Encoded:
        item = draft.item
        if draft.problem is not None:
            raise draft.problem
        if not draft.ids:
            is_text = item.messages is None and item.input_ids is None
            raise RowError("the row has no tokens", kind="malformed" if is_text else "no-tokens")
        if item.messages is not None:
            self._mask_conversation(draft)
        elif item.prompt is not None and self._completion_only:
            self._mask_prompt(draft, item.prompt)
        ids, mask = draft.ids, draft.mask
        labels = item.labels
        if labels is None and mask is not None:
            labels = [i if m else IGNORED for i, m in zip(ids, mask, strict=True)]
        elif labels is None and draft.spans is not None:
            labels = [IGNORED] * len(ids)
            for begin, end in draft.spans:
                labels[begin:end] = ids[begin:end]
        elif labels is None:
            labels = list(ids)
        return Encoded(
            row=item.row,
            input_ids=ids,
            labels=labels,
            attention_mask=item.attention_mask,
            prefix_ok=draft.prefix_ok,
            answers=self._answers(item),
        )

    def _answers(self, item: Item) -> list[str] | None:
        """The answers of a row that can be trained: by prefix, a turn that comes first cannot."""
        answers = item.answers
        if answers and item.messages and self.mask_source == "prefix" and not item.num_prompt_messages:
            return answers[1:] if item.messages[0]["role"] == "assistant" else answers
        return answers

    # ---- plain text ----

    def _mask_prompt(self, draft: _Draft, text: str) -> None:
        how = {} if self._add_special_tokens is None else {"add_special_tokens": self._add_special_tokens}
        prompt = list(self._tokenizer(text, **how)["input_ids"])
        behind = added_tokens(self._tokenizer, add_special_tokens=self._add_special_tokens)[1]
        prompt = prompt[: len(prompt) - behind]
        # The job masks as many tokens as the prompt has, also where the two do not meet at a token's edge.
        draft.mask = [i >= len(prompt) for i in range(len(draft.ids))]
        draft.prefix_ok = draft.ids[: len(prompt)] == prompt

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

    def _mask_conversation(self, draft: _Draft) -> None:
        item = draft.item
        messages, tools = item.messages or [], item.tools
        wants_completion = self._completion_only and item.num_prompt_messages is not None
        if self._assistant_only and draft.mask is None:
            self._prefix_difference(draft, messages, tools)
        if wants_completion:
            num_prompt = item.num_prompt_messages or 0
            asks = bool(num_prompt) and messages[num_prompt - 1]["role"] != "assistant"
            num, fits = (
                self._beginning(draft, messages[:num_prompt], asks, tools) if num_prompt else (0, True)
            )
            is_completion = [i >= num for i in range(len(draft.ids))]
            answers = draft.mask
            if draft.spans is not None:
                answers = [any(b <= i < e for b, e in draft.spans) for i in range(len(draft.ids))]
            draft.mask = [a and b for a, b in zip(answers or is_completion, is_completion, strict=True)]
            draft.prefix_ok = draft.prefix_ok is not False and fits

    def _prefix_difference(self, draft: _Draft, messages: list[dict[str, Any]], tools: Any) -> None:
        """The assistant's tokens as what a turn adds to the conversation before it.

        Both the ids before and the ids after the turn must be a prefix of the whole row's ids. Where they are
        not (a template that rewrites earlier turns), the span would cover something else: it is not trained.
        """
        whole, ok = draft.ids, None
        spans: list[tuple[int, int]] = []
        for k, message in enumerate(messages):
            if message["role"] != "assistant" or k == 0:
                continue  # before the first message there is no prompt to cut off
            try:
                start, starts_well = self._beginning(draft, messages[:k], True, tools)
                end, ends_well = len(whole), True
                if k + 1 < len(messages):
                    end, ends_well = self._beginning(draft, messages[: k + 1], False, tools, may_end=True)
            except RowError:
                ok = False
                continue
            if starts_well and ends_well:
                spans.append((start, end))
                ok = ok is not False
            else:
                ok = False
        draft.spans, draft.prefix_ok = spans, ok

    def _beginning(
        self,
        draft: _Draft,
        messages: list[dict[str, Any]],
        prompt: bool,
        tools: Any,
        *,
        may_end: bool = False,
    ) -> tuple[int, bool]:
        """How many ids the first turns have, and whether the row begins with them.

        Args:
            draft: The whole row.
            messages: Its first turns.
            prompt: With the header that asks for an assistant's turn.
            tools: Of the row.
            may_end: A template may put end tokens behind the last turn only, whichever that is: without them.
        """
        whole = draft.ids
        if draft.text is not None and self._prefixes is not None:
            text = draft.rendered.get((len(messages), prompt), "")
            text = text or self._chat.text(messages, prompt=prompt, tools=tools)
            draft.marks = draft.marks or self._prefixes.marks(draft.text, whole)
            if draft.marks is not None and draft.text.startswith(text):
                tail = self._prefixes.tail(text, draft.marks)
                if tail is not None:
                    num, behind = tail
                    if whole[num : num + len(behind)] == behind:
                        return num + len(behind), True
                    if not may_end:
                        return num + len(behind), False
            ids = self._chat.ids_of_text(text)
        else:
            ids = self._chat.ids(messages, prompt=prompt, tools=tools)
        ids = ids[: len(ids) - self._chat.num_added_at_end]  # the conversation goes on
        if may_end and whole[: len(ids)] != ids:
            ids = self._without_end(ids)
        return len(ids), whole[: len(ids)] == ids

    def _without_end(self, ids: list[int]) -> list[int]:
        num = len(ids)
        while num and ids[num - 1] in self._end_ids:
            num -= 1
        return ids[:num]


def _flag(training: dict[str, Any], name: str, default: bool) -> bool:
    value = training.get(name)
    return default if value is None else bool(value)

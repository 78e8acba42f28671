"""What the rows look like once the job's own tokenizer, template, truncation and collator had them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True, slots=True)
class RejectedRow:
    """A row that cannot be used."""

    row: int
    reason: str
    """What is wrong, without the row's text."""
    kind: str = "malformed"
    """One of "malformed" and "template" (the chat template refused the row; both D110), "unknown-role" (D107),
    "role-order" (D108), "nested-output" (the template gives [[ids]]), "nested-ids", "no-tokens" (D114)."""
    excerpt: str | None = None
    """First characters of the row, for the finding's evidence only."""


@dataclass(kw_only=True, slots=True)
class Token:
    """One token of a sample."""

    id: int
    text: str | None = None
    trained: bool = False


@dataclass(kw_only=True, slots=True)
class Sample:
    """One row, token by token, as the model sees it."""

    row: int
    why: str = ""
    tokens: list[Token] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class PreparedRow:
    """The numbers of one tokenised row.

    `input_ids` and `labels` are as the model will get them (after truncation *and* the collator's masking),
    without padding.
    """

    row: int
    num_tokens: int
    """After truncation."""
    num_tokens_untruncated: int
    num_supervised: int
    """Labels other than -100 that the shifted loss looks at (position 0 never counts)."""
    num_supervised_untruncated: int | None = None
    """What truncation would have left alone."""
    first_supervised: int | None = None
    """Index (from 0) of the first supervised token in the untruncated row."""
    last_supervised: int | None = None
    """Index (from 0) of the last supervised token in the untruncated row."""
    max_token_id: int | None = None
    min_token_id: int | None = None
    num_leading_bos: int = 0
    """How many BOS tokens the row begins with."""
    bos_in_answer: bool = False
    has_end_token: bool | None = None
    """The untruncated answer ends with an end-of-sequence or end-of-turn token."""
    end_token_trained: bool | None = None
    """That token (before truncation) has a label."""
    answer_text_matches: bool | None = None
    """The decoded supervised text (before truncation) equals the answer; None where it is not known."""
    prefix_ok: bool | None = None
    """Tokens of the prompt are a prefix of the tokens of prompt + answer; None where not applicable."""
    empty_answer: bool | None = None
    num_answers: int | None = None
    """Answers in the row; None where they are not known (tool calls, ids)."""
    num_text_tokens: int | None = None
    """Tokens other than control tokens; counted only in rows that are short or have no supervised token."""
    answer_difference: str | None = None
    """How the supervised text differs from the answer: "more", "less" or "other"."""
    answer_difference_share: float | None = None
    """Share of the text by which the two differ, 0 to 1."""
    num_label_mismatches: int = 0
    """Labels (of rows that bring their own) that are another id than the token at their place."""
    labels_shifted: bool = False
    """Every label is the id of the token behind it: shifted in the data, and the model shifts again."""
    bos_typed: bool = False
    """The text of an answer itself holds the BOS token."""
    input_ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class DataEvidence:
    """The sample as it was read and tokenised."""

    num_rows_read: int = 0
    num_rows_usable: int = 0
    rejected: list[RejectedRow] = field(default_factory=list)
    format: str | None = None
    """One of "MESSAGES", "PROMPT_COMPLETION", "TEXT", "TOKENIZED", ... (the contract's names without prefix)."""
    read_error: str | None = None
    """The sample could not be read at all: why, and what to do (D119)."""
    rows: list[PreparedRow] = field(default_factory=list)
    """Every row that was tokenised; `input_ids` and `labels` are there only for those that can run or be shown."""
    rejected_answers: list[PreparedRow] | None = None
    """Of preference pairs: the rejected answers, one for each of `rows` (which are the chosen ones), without ids."""
    samples: list[Sample] = field(default_factory=list)
    max_length: int | None = None
    """The length rows were cut to; None: not cut."""
    micro_batch_size: int | None = None
    mask_source: str | None = None
    """How the mask was made: "generation" ({% generation %}), "prefix" (prefix difference), "completion",
    "labels" (the data's own), "all" (no mask asked for)."""
    collator: str | None = None
    pad_token_id: int | None = None
    eos_token_ids: list[int] = field(default_factory=list)
    bos_token_id: int | None = None
    tokenizer_length: int | None = None
    notes: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

"""Rows that hold nothing but control tokens: what is left where the conversation was lost."""

from __future__ import annotations

from hotfire.rules.evidence import DataEvidence, PreparedRow

LOST_INDEX = (
    "This is what is left where apply_chat_template returns [[ids]], one list for every conversation, and the "
    "code slices it ([2:], say) without taking [0] first: that gives an empty list, and every token of the turn "
    "is lost (GLM-4 issue 251)"
)
LOST_INDEX_REMEDY = (
    "Take apply_chat_template(...)[0] before the ids are sliced or joined, or update the tokenizer's files so "
    "that one conversation gives one flat list."
)


def hollow_rows(data: DataEvidence) -> list[PreparedRow]:
    """Rows in which not one token stands for text."""
    return [row for row in data.rows if row.num_text_tokens == 0]

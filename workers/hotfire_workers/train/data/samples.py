"""Token views: a row as the model sees it, for people to read."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from hotfire.rules.evidence import PreparedRow, Sample, Token
from hotfire_workers.train.data.encode import IGNORED

_MAX_TOKENS = 4096
_UNDECODABLE = "\ufffd"
_MAX_GROUP = 8


def texts_of(ids: list[int], decode: Callable[[list[int]], str]) -> list[str]:
    """The text of every token. A character of several tokens stands on the first of them.

    A byte-level tokenizer cuts a character such as 茶 into bytes that have no text alone.

    Args:
        ids: Token ids of one row.
        decode: Text of several tokens; undecodable bytes become U+FFFD.
    """
    texts: list[str] = []
    while len(texts) < len(ids):
        place = len(texts)
        alone = decode([ids[place]])
        group = [alone]
        if _UNDECODABLE in alone:
            for size in range(2, min(_MAX_GROUP, len(ids) - place) + 1):
                together = decode(ids[place : place + size])
                if _UNDECODABLE not in together:
                    group = [together, *[""] * (size - 1)]
                    break
        texts += group
    return texts


def token_view(
    row: PreparedRow,
    *,
    why: str,
    decode: Callable[[list[int]], str] | None,
    heads: Collection[int] = (0,),
) -> Sample:
    """One row, token by token.

    Args:
        row: As prepared (after truncation and the collator).
        why: Why this row is shown.
        decode: Text of tokens; None: ids and flags only.
        heads: Places (from 0) whose token nothing predicts: the loss does not look at them.
    """
    shown = list(zip(row.input_ids, row.labels, strict=True))[:_MAX_TOKENS]
    if row.num_tokens < row.num_tokens_untruncated:
        why += f"{', ' if why else ''}cut from {row.num_tokens_untruncated} to {row.num_tokens} tokens"
        if not row.num_supervised and row.first_supervised is not None:
            why += f" (what is to be trained begins at token {row.first_supervised + 1})"
    if len(row.input_ids) > _MAX_TOKENS:
        why = f"{why} (first {_MAX_TOKENS} of {len(row.input_ids)} tokens)"
    texts: list[str | None] = [*texts_of([i for i, _ in shown], decode)] if decode else [None] * len(shown)
    tokens = [
        Token(id=i, text=texts[place], trained=place not in heads and label != IGNORED)
        for place, (i, label) in enumerate(shown)
    ]
    return Sample(row=row.row, why=why, tokens=tokens)


def compact(sample: Sample) -> dict[str, Any]:
    """A view in few bytes: there may be hundreds of thousands of tokens."""
    tokens = sample.tokens
    return {
        "row": sample.row,
        "why": sample.why,
        "ids": [t.id for t in tokens],
        "texts": [t.text for t in tokens],
        "trained": [int(t.trained) for t in tokens],
    }

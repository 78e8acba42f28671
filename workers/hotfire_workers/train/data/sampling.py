"""Which rows run and are shown: those that expose trouble, besides the first ones; in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hotfire.rules.evidence import PreparedRow

MAX_ROWS = 2000
"""Rows that can run."""
_MAX_TOKENS = 1_000_000
"""Of the rows that can run: their ids are kept, those of other rows are not."""
_NUM_IN_FRONT = 8
_THEN_EVERY = 4
_RARE_SHARE = 0.25
_MAX_KINDS = 40
_NUM_OF_EACH = 20
"""Rows with one kind of trouble whose ids are kept: so many a finding names."""
_ONLY_IF_FEW = ("its end token is not trained", "no end token")
_COMMON_ROLES = {"role 'user'", "role 'assistant'", "role 'system'"}

_BEHIND, _NAMED = "\0behind the rows that can run", "\0may be named by a finding"
"""Marks among the reasons, not shown."""
_FIRST_WITH: dict[str, Callable[[PreparedRow], bool]] = {
    "no supervised token": lambda r: r.num_supervised == 0,
    "its mask cannot be trusted": lambda r: r.prefix_ok is False,
    "what is trained is not the answer": lambda r: r.answer_text_matches is False,
    "empty answer": lambda r: r.empty_answer is True,
    "truncated": lambda r: r.num_tokens < r.num_tokens_untruncated,
    "its end token is not trained": lambda r: r.end_token_trained is False,
    "no end token": lambda r: r.has_end_token is False,
}
_MOST: dict[str, Callable[[PreparedRow], float]] = {
    "longest row": lambda r: r.num_tokens,
    "most masked row": lambda r: -r.num_supervised / r.num_tokens,
    "shortest row": lambda r: -r.num_tokens,
}


@dataclass(kw_only=True, slots=True)
class Kept:
    """One row whose ids are kept."""

    row: PreparedRow
    attention_mask: list[int] | None = None
    reasons: set[str] = field(default_factory=set)
    """Why; empty: it comes among the first."""


class Selection:
    """Sees every prepared row once, in the file's order, and keeps the ids of some.

    The same rows give the same choice.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Kept] = {}
        self._best: dict[str, tuple[float, Kept]] = {}
        self._num_with: Counter[str] = Counter()
        self._kinds: dict[str, Kept] = {}
        self._num_kinds: Counter[str] = Counter()
        self._num_rows = 0
        self._num_tokens = 0

    def offer(
        self,
        row: PreparedRow,
        kinds: Sequence[str] = (),
        attention_mask: list[int] | None = None,
        *,
        is_named: bool = False,
    ) -> None:
        """Looks at one row; takes its ids away unless it is kept.

        Args:
            row: As prepared.
            kinds: Its traits, as `Traits.kinds`.
            attention_mask: Of the data, if it has one.
            is_named: Something is wrong with it that a finding may name it for.
        """
        self._num_rows += 1
        kept = Kept(row=row, attention_mask=attention_mask)
        for name, key in _MOST.items():
            value = key(row)
            if name not in self._best or value > self._best[name][0]:
                if name in self._best:
                    self._leave(self._best[name][1], name)
                self._best[name] = (value, kept)
                kept.reasons.add(name)
        for name, test in _FIRST_WITH.items():
            if test(row):
                self._num_with[name] += 1
                if self._num_with[name] == 1:
                    kept.reasons.add(name)
                is_named |= self._num_with[name] <= _NUM_OF_EACH
        if is_named:
            kept.reasons.add(_NAMED)
        for kind in kinds:
            self._num_kinds[kind] += 1
            if kind not in self._kinds and len(self._kinds) < _MAX_KINDS:
                self._kinds[kind] = kept
                kept.reasons.add(kind)
        if self._num_rows == 1:
            kept.reasons.add("first row")
        if self._num_rows <= MAX_ROWS and self._num_tokens + row.num_tokens <= _MAX_TOKENS:
            self._num_tokens += row.num_tokens
            self._kept[row.row] = kept
        elif kept.reasons:
            self._kept[row.row] = kept
            kept.reasons.add(_BEHIND)
        else:
            row.input_ids, row.labels = [], []

    def _leave(self, kept: Kept, reason: str) -> None:
        """A row lost a place; its ids go where that was all that kept it."""
        kept.reasons.discard(reason)
        if kept.reasons == {_BEHIND}:
            kept.row.input_ids, kept.row.labels, kept.attention_mask = [], [], None
            self._kept.pop(kept.row.row, None)

    def chosen(self) -> dict[int, str]:
        """Row -> why it is worth a look; the most telling first."""
        telling = [
            name
            for name in _FIRST_WITH
            if name not in _ONLY_IF_FEW or 2 * self._num_with[name] <= self._num_rows
        ]
        order = ["first row", "no supervised token", *_MOST, *telling]
        reasons: dict[int, list[str]] = {}
        for name in dict.fromkeys(order):
            for number, kept in self._kept.items():
                if name in kept.reasons:
                    reasons.setdefault(number, []).append(name)
        for kind, kept in sorted(self._kinds.items(), key=lambda item: self._num_kinds[item[0]]):
            if self._is_rare(kind):
                count = self._num_kinds[kind]
                reasons.setdefault(kept.row.row, []).append(f"{kind} ({count} of {self._num_rows} rows)")
        return {number: ", ".join(names) for number, names in reasons.items()}

    def named(self) -> list[Kept]:
        """Rows that a finding may name."""
        return [kept for kept in self._kept.values() if _NAMED in kept.reasons]

    def _is_rare(self, kind: str) -> bool:
        is_few = self._num_kinds[kind] < _RARE_SHARE * self._num_rows
        # What makes rows differ in shape is always worth a step, what nearly all rows have is not.
        return is_few or (kind not in _COMMON_ROLES and self._num_kinds[kind] < self._num_rows)

    def run_order(self, chosen: Mapping[int, str]) -> list[Kept]:
        """Rows as trials take them: the most telling in front, so that a few steps meet them.

        Then the file's order, with the other chosen ones in between.
        """
        front = [self._kept[number] for number in list(chosen)[:_NUM_IN_FRONT]]
        late = [self._kept[number] for number in list(chosen)[_NUM_IN_FRONT:]]
        rest = [self._kept[number] for number in sorted(self._kept) if number not in chosen]
        order = front
        while rest or late:
            order += rest[:_THEN_EVERY]
            order += late[:1]
            del rest[:_THEN_EVERY], late[:1]
        return order


def distribution(rows: Sequence[PreparedRow]) -> dict[str, Any]:
    """Lengths (tokens) and the share of supervised tokens of some rows."""
    lengths = sorted(row.num_tokens for row in rows)
    if not lengths:
        return {"num_rows": 0}

    def at(share: float) -> int:
        return lengths[min(len(lengths) - 1, int(share * len(lengths)))]

    return {
        "num_rows": len(lengths),
        "length_p50": at(0.5),
        "length_p90": at(0.9),
        "length_max": lengths[-1],
        "supervised_token_share": round(sum(r.num_supervised for r in rows) / sum(lengths), 4),
        "truncated_row_share": round(
            sum(r.num_tokens < r.num_tokens_untruncated for r in rows) / len(lengths), 4
        ),
    }


def comparison(run: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """Both distributions in one sentence."""
    return (
        f"the first {run['num_rows']} rows that trials take against all {whole['num_rows']}: median "
        f"{run['length_p50']} and {whole['length_p50']} tokens, longest {run['length_max']} and "
        f"{whole['length_max']}, {run['supervised_token_share']:.0%} and "
        f"{whole['supervised_token_share']:.0%} of the tokens trained"
    )

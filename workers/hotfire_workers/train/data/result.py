"""What a look at the sample leaves: the evidence, the rows that trials take, and their token views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hotfire.rules.evidence import DataEvidence, PrepareRequest, Sample
from hotfire_workers.train.data.samples import token_view
from hotfire_workers.train.data.sampling import Kept, Selection, comparison, distribution

_MAX_VIEWED_TOKENS = 60_000
_NUM_TRIAL_ROWS = 64
"""Rows that are compared with the whole sample, where it is not known how many trials take."""


@dataclass(kw_only=True)
class PreparedSample:
    """The evidence, and what trials and `GetRow` need besides."""

    evidence: DataEvidence
    batch_rows: list[dict[str, Any]] = field(default_factory=list)
    """Lines of rows.jsonl, in the order in which trials take them."""
    views: list[Sample] = field(default_factory=list)
    """Token views of the rows that run or that findings may name, as many as fit."""
    texts: list[list[str]] = field(default_factory=list)
    """Texts of those rows and of the rejected ones, row by row."""


@dataclass(slots=True)
class Result:
    """Puts it together.

    Attributes:
        evidence: With all rows.
        selection: Has seen all rows.
        decode: Text of tokens; None: views hold ids and flags only.
    """

    evidence: DataEvidence
    selection: Selection
    decode: Callable[[list[int]], str] | None

    def finish(self, request: PrepareRequest, texts: list[list[str]]) -> PreparedSample:
        """Chooses, and writes into the evidence what was chosen and why."""
        chosen = self.selection.chosen()
        order = self.selection.run_order(chosen)
        by_row = {kept.row.row: kept for kept in order}
        shown = [by_row[number] for number in list(chosen)[: request.num_samples]]
        self.evidence.samples = [self._view(kept, chosen) for kept in shown]
        self.evidence.extra["sampling"] = [{"row": number, "why": why} for number, why in chosen.items()]
        if order:
            self._compare(order[: request.num_trial_rows or _NUM_TRIAL_ROWS])
        return PreparedSample(
            evidence=self.evidence,
            batch_rows=[_batch_row(kept) for kept in order],
            views=self._views(order, chosen),
            texts=texts,
        )

    def _compare(self, run: list[Kept]) -> None:
        first, whole = distribution([kept.row for kept in run]), distribution(self.evidence.rows)
        self.evidence.extra["distribution"] = {"trial_rows": first, "all_rows": whole}
        self.evidence.notes.append(comparison(first, whole))

    def _views(self, order: list[Kept], chosen: dict[int, str]) -> list[Sample]:
        views: dict[int, Sample] = {}
        num_viewed = 0
        front = [kept for kept in order if kept.row.row in chosen]
        for kept in (*front, *self.selection.named(), *order):
            if kept.row.row in views:
                continue
            num_viewed += kept.row.num_tokens
            if num_viewed > _MAX_VIEWED_TOKENS:
                break
            views[kept.row.row] = self._view(kept, chosen)
        return list(views.values())

    def _view(self, kept: Kept, chosen: dict[int, str]) -> Sample:
        return token_view(kept.row, why=chosen.get(kept.row.row, ""), decode=self.decode)


def _batch_row(kept: Kept) -> dict[str, Any]:
    row = kept.row
    mask = kept.attention_mask or [1] * row.num_tokens
    return {"row": row.row, "input_ids": row.input_ids, "labels": row.labels, "attention_mask": mask}

"""What a look at the sample leaves: the evidence, the rows that trials take, and their token views."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hotfire.rules.evidence import DataEvidence, PrepareRequest, Sample
from hotfire_workers.train.data.packs import Packing, Piece, pack
from hotfire_workers.train.data.samples import token_view
from hotfire_workers.train.data.sampling import Kept, Selection, comparison, distribution

_MAX_VIEWED_TOKENS = 400_000
"""Of the rows that can be shown. What an ordinary trial takes fits in."""
_ATTEMPTS = 5
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
        packing: How rows are packed; None: they are not.
    """

    evidence: DataEvidence
    selection: Selection
    decode: Callable[[list[int]], str] | None
    packing: Packing | None = None
    _heads: dict[int, set[int]] = field(default_factory=dict)

    def finish(self, request: PrepareRequest, texts: list[list[str]]) -> PreparedSample:
        """Chooses, and writes into the evidence what was chosen and why."""
        chosen = self.selection.chosen()
        order = self.selection.run_order(chosen)
        by_row = {kept.row.row: kept for kept in order}
        shown = [by_row[number] for number in list(chosen)[: request.num_samples]]
        self.evidence.extra["sampling"] = [{"row": number, "why": why} for number, why in chosen.items()]
        lines = [_batch_row(kept) for kept in order] if self.packing is None else self._packed(order)
        self.evidence.samples = [self._view(kept, chosen) for kept in shown]
        run = _rows_of(lines[: request.num_trial_rows or _NUM_TRIAL_ROWS])
        if order:
            self._compare([by_row[number] for number in run])
        return PreparedSample(
            evidence=self.evidence,
            batch_rows=lines,
            # Steps whose update is skipped are repeated with the rows that follow, up to five times as many.
            views=self._views(
                [
                    by_row[n]
                    for n in _rows_of(lines[: _ATTEMPTS * (request.num_trial_rows or _NUM_TRIAL_ROWS)])
                ],
                chosen,
            ),
            texts=texts,
        )

    def _packed(self, order: list[Kept]) -> list[dict[str, Any]]:
        assert self.packing is not None
        rows = [Piece(row=k.row.row, input_ids=k.row.input_ids, labels=k.row.labels) for k in order]
        packs, self._heads = pack(rows, self.packing)
        num_tokens = sum(len(p.input_ids) for p in packs)
        self.evidence.extra["packing"] = {
            **dataclasses.asdict(self.packing),
            "num_rows": len(rows),
            "num_packs": len(packs),
            "num_tokens": num_tokens,
        }
        if packs:
            apart = "positions start anew in every row" if self.packing.keeps_apart else "without borders"
            self.evidence.notes.append(
                f"packing as TRL does it ({self.packing.strategy}, {apart}): the {len(rows)} rows that can run "
                f"become {len(packs)} packs of at most {self.packing.length} tokens, "
                f"{num_tokens / len(packs) / self.packing.length:.0%} full; a micro-batch takes packs"
            )
        return [p.line(self.packing) for p in packs]

    def _compare(self, run: list[Kept]) -> None:
        first, whole = distribution([kept.row for kept in run]), distribution(self.evidence.rows)
        self.evidence.extra["distribution"] = {"trial_rows": first, "all_rows": whole}
        if len(run) < len(self.evidence.rows):
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
        number = kept.row.row
        heads = self._heads.get(number, ()) if self.packing else (0,)
        return token_view(kept.row, why=chosen.get(number, ""), decode=self.decode, heads=heads)


def _rows_of(lines: list[dict[str, Any]]) -> list[int]:
    return list(dict.fromkeys(row for line in lines for row in line.get("rows", [line["row"]])))


def _batch_row(kept: Kept) -> dict[str, Any]:
    row = kept.row
    mask = kept.attention_mask or [1] * row.num_tokens
    return {"row": row.row, "input_ids": row.input_ids, "labels": row.labels, "attention_mask": mask}

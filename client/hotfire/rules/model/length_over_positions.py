"""M103 length-over-positions."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, PreparedRow, Severity
from hotfire.rules.remedy import set_value
from hotfire.rules.wording import counted, listed


class LengthOverPositions(Rule):
    """Rows may be longer than the positions that the model has.

    Why:
        A model with a table of positions (GPT-2, OPT) fails at the first row beyond it: an IndexError on a
        CPU, a device-side assert on a GPU. One with rotary positions goes on, on angles that it has never
        seen: what it learns there is worth little without rope scaling.

    Example:
        `max_length: 4096` for a model with `max_position_embeddings: 2048`.

    Fix:
        A `max_length` within the positions (proposed as a patch), or `rope_scaling` in the model's config.

    Source:
        transformers' modelling code: `wpe`, `embed_positions`, `rope_parameters`.
    """

    id = "M103"
    name = "length-over-positions"
    severity = Severity.ERROR
    needs = ("model", "training")

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """ERROR where a row is beyond a table of positions, WARNING with rotary ones, INFO where no row is."""
        model, training = evidence.model, evidence.training or {}
        assert model is not None
        limit = model.max_positions
        if model.positions == "relative":
            return
        if limit is None:
            raise Skip("config.json does not say how many positions the model has")
        length = training.get("max_length")
        rows = evidence.data.rows if evidence.data else []
        beyond = [row for row in rows if row.num_tokens > limit]
        if not beyond and (length is None or length <= limit):
            return
        severity, more = _judge(model.positions, beyond, bool(rows), limit)
        given = f"max_length {length}" if length is not None else "No max_length is set, and a row"
        yield Finding(
            message=f"{given} is beyond the {limit} positions of the model.{more}",
            severity=severity,
            location=Location(config_path="/training/max_length", row=beyond[0].row if beyond else None),
            evidence={
                "max_length": length,
                "max_positions": limit,
                "positions": model.positions,
                "num_rows_beyond": len(beyond),
                "rows": [row.row for row in beyond[:20]],
                "longest_row_tokens": max((row.num_tokens for row in rows), default=None),
            },
            fix=Fix(
                description=f"Cut rows to the {limit} positions of the model.",
                patch=[set_value(evidence, "/training/max_length", limit)],
            ),
            alternatives=[Fix(description="Extend the positions: rope_scaling in the model's config.json.")]
            if model.positions != "learned"
            else [],
        )


def _judge(
    positions: str | None, beyond: list[PreparedRow], has_rows: bool, limit: int
) -> tuple[Severity, str]:
    if not beyond and has_rows:
        return Severity.INFO, " Lowered to INFO: no row of the sample is that long."
    who = (
        f" {counted(len(beyond), 'row is', 'rows are')} longer: {listed(r.row for r in beyond)}."
        if beyond
        else ""
    )
    if positions == "learned":
        return Severity.ERROR, f"{who} It has a table of positions: such a row cannot be looked up."
    return Severity.WARNING, f"{who} Lowered to a warning: rotary positions go on, untrained, behind {limit}."

"""D109 empty-answer."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.data.sides import both_sides
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity
from hotfire.rules.wording import listed, percent

_MOST = 0.5
_FEW = 0.001


class EmptyAnswer(Rule):
    """Answers are empty, or white space only.

    Why:
        Where the end token is trained the model learns to say nothing. Where it is not, the row has no token
        to learn from. Both come from a formatter that lost the answer, or from a failed scrape.

    Example:
        `{"prompt": "...", "completion": ""}`; 177 rows of dolly at the lengths of FederatedScope.

    Fix:
        Repair the formatter; drop the rows.

    Source:
        huggingface/trl issue 1225; alibaba/FederatedScope pull request 625.
    """

    id = "D109"
    name = "empty-answer"
    severity = Severity.ERROR
    needs = ("data",)

    @both_sides
    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """ERROR where half of the rows train an empty answer; WARNING below, INFO below one in a thousand."""
        data = evidence.data
        assert data is not None
        known = [row for row in data.rows if row.empty_answer is not None]
        if not known:
            raise Skip("the answers are not known as text")
        empty = [row for row in known if row.empty_answer]
        if not empty:
            return
        trained = [row for row in empty if row.num_supervised]
        severity, more = Severity.ERROR, " The model learns to say nothing."
        if len(trained) < _MOST * len(known):
            severity = Severity.INFO if len(empty) < _FEW * len(known) else Severity.WARNING
            more = (
                " They have no token to learn from, which no-supervised-tokens counts."
                if not trained
                else " Lowered in severity: the other rows have answers."
            )
        yield Finding(
            message=f"{len(empty)} of {len(known)} rows ({percent(len(empty), len(known))}) have an empty "
            f"answer: rows {listed(row.row for row in empty)}.{more}",
            severity=severity,
            location=Location(row=empty[0].row),
            evidence={
                "num_rows": len(known),
                "num_rows_empty": len(empty),
                "num_rows_empty_and_trained": len(trained),
                "rows": [row.row for row in empty[:20]],
            },
            fix=Fix(
                description="Find where the answer is lost before this file is written, or drop the rows."
            ),
        )

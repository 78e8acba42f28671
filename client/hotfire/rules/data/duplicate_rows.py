"""D111 duplicate-rows."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.data.hollow import hollow_rows
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity
from hotfire.rules.wording import counted, percent

_MANY = 0.05
_SOME = 0.01


class DuplicateRows(Rule):
    """Rows occur more than once.

    Why:
        A row that stands there ten times is trained ten times an epoch: the model learns it by heart, and the
        loss falls for the wrong reason. Often a join or a resumed export wrote them twice.

    Example:
        The shards of an export were concatenated twice: every row occurs two times.

    Fix:
        Drop the copies; where they are meant, weight the data instead.

    Source:
        Lee et al., Deduplicating Training Data Makes Language Models Better (2022).
    """

    id = "D111"
    name = "duplicate-rows"
    severity = Severity.WARNING
    needs = ("data",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """WARNING from 5 % of copies on, INFO from 1 %."""
        data = evidence.data
        assert data is not None
        copies = data.extra.get("num_copies")
        if copies is None:
            raise Skip("the rows were not compared")
        total = len(data.rows)
        if copies < max(2, _SOME * total) or len(hollow_rows(data)) >= 0.5 * total:
            return  # rows that hold nothing are all alike
        most = data.extra.get("most_copied") or []
        named = ", ".join(f"row {entry['row']} ({entry['num_rows']} times)" for entry in most[:3])
        is_few = copies < _MANY * total
        yield Finding(
            message=f"{counted(copies, 'row is a copy', 'rows are copies')} of an earlier row, of {total} "
            f"({percent(copies, total)}). Most often: {named}."
            f"{' Lowered to INFO: they are few.' if is_few else ''}",
            severity=Severity.INFO if is_few else Severity.WARNING,
            location=Location(row=most[0]["row"] if most else None),
            evidence={"num_copies": copies, "num_rows": total, "most_copied": most},
            fix=Fix(description="Drop the copies before training."),
        )

"""D108 role-order."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.data.column_dropped import dropped_columns
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import DataEvidence, Evidence, Finding, Fix, Location, RejectedRow, Severity
from hotfire.rules.wording import counted, listed, percent

#: Fewer rows than this share are no more than a note.
_FEW = 0.01


class RoleOrder(Rule):
    """Turns are out of order: two of one role in a row, the answer first, or no answer at all.

    Why:
        Templates of Llama 2, Mistral and Gemma refuse such a row; others render a conversation that the model
        never has when it is served. A row without an answer teaches nothing, or teaches to ask.

    Example:
        user, user, assistant: two questions that were one, or an answer that was filtered out between them.

    Fix:
        Merge turns of one role, begin with the user, drop rows without an answer.

    Source:
        The `raise_exception` of the chat templates of mistralai and google; the ShareGPT dumps, a third of
        which begin with an answer.
    """

    id = "D108"
    name = "role-order"
    severity = Severity.WARNING
    needs = ("data",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """ERROR where the template refuses the rows, or where no row has an answer to learn from."""
        data = evidence.data
        assert data is not None
        refused = [row for row in data.rejected if row.kind == "role-order"]
        if refused:
            yield _refused_finding(data, refused)
        facts = data.extra
        if "num_same_role_twice_rows" not in facts:
            if refused:
                return
            raise Skip("the rows have no roles that were looked at")
        for name, what, remedy in (
            ("same_role_twice_rows", "have two turns of one role in a row", "Merge such turns into one."),
            ("assistant_first_rows", "begin with an answer", "Let a user's turn come first."),
        ):
            count = facts.get(f"num_{name}") or 0
            if count:
                yield _finding(data, facts.get(name) or [], count, what, remedy)
        count = facts.get("num_no_assistant_rows") or 0
        if count and not dropped_columns(data):
            yield _no_answer_finding(data, facts.get("no_assistant_rows") or [], count)


def _refused_finding(data: DataEvidence, refused: list[RejectedRow]) -> Finding:
    return Finding(
        message=f"The chat template refuses {counted(len(refused), 'row')} of {data.num_rows_read} for the "
        f"order of turns ({refused[0].reason.rstrip('.')}); with the turns in order it takes them. Rows "
        f"{listed(row.row for row in refused)}.",
        severity=Severity.ERROR,
        location=Location(row=refused[0].row),
        evidence={
            "rows": [row.row for row in refused[:20]],
            "num_rows": len(refused),
            "first_characters": refused[0].excerpt,
        },
        fix=Fix(description="Let user and assistant take turns, the user first: merge turns of one role."),
    )


def _finding(data: DataEvidence, rows: list[int], count: int, what: str, remedy: str) -> Finding:
    is_few = count < _FEW * data.num_rows_usable
    return Finding(
        message=f"{count} of {data.num_rows_usable} rows ({percent(count, data.num_rows_usable)}) {what}: "
        f"rows {listed(rows)}.{' Lowered to INFO: they are few.' if is_few else ''}",
        severity=Severity.INFO if is_few else Severity.WARNING,
        location=Location(row=rows[0] if rows else None),
        evidence={"rows": rows[:20], "num_rows_affected": count, "num_rows": data.num_rows_usable},
        fix=Fix(description=remedy),
    )


def _no_answer_finding(data: DataEvidence, rows: list[int], count: int) -> Finding:
    finding = _finding(data, rows, count, "have no answer at all", "Drop these rows, or give them an answer.")
    finding.severity = Severity.WARNING
    if data.mask_source != "all":
        finding.message += " They have no token to learn from, which no-supervised-tokens counts."
    elif 2 * count >= data.num_rows_usable:
        finding.severity = Severity.ERROR
        finding.message += " The model learns to ask, and never to answer."
    return finding

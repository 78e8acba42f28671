"""D110 malformed-row."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.data.template_mismatch import NESTED_KINDS
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, RejectedRow, Severity
from hotfire.rules.wording import counted, listed

_MAX_FINDINGS = 5
#: Kinds of refused rows that another rule names.
NAMED_ELSEWHERE = ("unknown-role", "role-order", *NESTED_KINDS)


class MalformedRow(Rule):
    """A row cannot be used: unreadable line, missing field, wrong type, or refused by the chat template.

    Why:
        The job's own loader will stop at such a row, hours after the start if it is a late one, or drop it,
        so that less data is trained than was paid for.

    Example:
        Line 812 is `{"messages": "hello"}`: a text where a list of turns is wanted.

    Fix:
        Repair or remove the rows named here; the first characters are in the finding's evidence.

    Source:
        alibaba/FederatedScope pull request 625; huggingface/trl issue 1225.
    """

    id = "D110"
    name = "malformed-row"
    severity = Severity.ERROR
    needs = ("data",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """One finding per reason, the most frequent first."""
        data = evidence.data
        assert data is not None
        by_reason: dict[str, list[RejectedRow]] = {}
        for row in data.rejected:
            if row.kind not in NAMED_ELSEWHERE:
                by_reason.setdefault(row.reason, []).append(row)
        groups = sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[1][0].row))
        for number, (reason, rows) in enumerate(groups, start=1):
            if number > _MAX_FINDINGS:
                rest = [row for _, rows in groups[_MAX_FINDINGS:] for row in rows]
                yield Finding(
                    message=f"{counted(len(rest), 'more row is', 'more rows are')} malformed, for "
                    f"{counted(len(groups) - _MAX_FINDINGS, 'other reason')}: rows "
                    f"{listed(row.row for row in rest)}; report.data.rejected lists them.",
                    location=Location(row=rows[0].row),
                    evidence={
                        "rows": [row.row for row in rest[:20]],
                        "num_rows": len(rest),
                        "reasons": [reason for reason, _ in groups[_MAX_FINDINGS:][:10]],
                    },
                )
                return
            yield Finding(
                message=f"{counted(len(rows), 'row')} cannot be used: {reason.rstrip('.')}. "
                f"{'Row' if len(rows) == 1 else 'Rows'} {listed(row.row for row in rows)} of "
                f"{data.num_rows_read}.",
                location=Location(row=rows[0].row),
                evidence={
                    "rows": [row.row for row in rows[:20]],
                    "num_rows": len(rows),
                    "reason": reason,
                    "first_characters": rows[0].excerpt,
                },
                fix=Fix(description="Repair or remove these rows."),
            )

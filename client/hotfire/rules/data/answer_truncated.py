"""D102 answer-truncated."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.data.length import length_fixes, num_lost
from hotfire.rules.data.sides import both_sides
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Location, Severity
from hotfire.rules.wording import listed, percent


class AnswerTruncated(Rule):
    """Truncation removes the answer, or part of it.

    Why:
        Rows longer than `max_length` are cut on the right, where the answer is. The model then learns from
        prompts whose answers it never sees, and from answers that never end: it does not learn to stop.

    Example:
        `max_length: 128` with rows of 200 tokens: 40 of 60 answer tokens are gone, the end token with them.

    Fix:
        The `max_length` that keeps the answers of the affected rows (proposed as a patch), truncation on the
        left, or shorter rows.

    Source:
        huggingface/trl issue 6668 and pull request 6320; meta-llama/llama-cookbook issue 133.
    """

    id = "D102"
    name = "answer-truncated"
    severity = Severity.ERROR
    needs = ("data",)

    @both_sides
    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """ERROR where whole answers go in 5 % of the rows, or parts in half of them; INFO below 1 %."""
        data = evidence.data
        assert data is not None
        if not data.rows:
            raise Skip("no row could be tokenised")
        if data.format == "TEXT":
            raise Skip("plain text has no answer that could be cut off")
        affected = [row for row in data.rows if num_lost(row) > 0]
        if not affected:
            if all(row.num_supervised_untruncated is None for row in data.rows):
                raise Skip("how many labels the rows had before truncation is not known")
            return
        whole = [row for row in affected if row.num_supervised == 0]
        lost = sum(num_lost(row) for row in affected)
        total = sum(row.num_supervised_untruncated or row.num_supervised for row in data.rows)
        severity, lowered = Severity.ERROR, ""
        if data.mask_source == "all":
            severity = Severity.WARNING
            lowered = " Lowered to a warning: the prompt is trained too, so something is left to learn from."
        elif len(whole) < 0.05 * len(data.rows) and len(affected) < 0.5 * len(data.rows):
            severity = Severity.WARNING if whole or len(affected) >= 0.01 * len(data.rows) else Severity.INFO
            lowered = " Lowered in severity: most rows keep their answer."
        fixes = length_fixes(evidence, affected)
        yield Finding(
            message=f"max_length {data.max_length} cuts the answer of {len(affected)} of "
            f"{len(data.rows)} rows ({percent(len(affected), len(data.rows))})"
            f"{f', in {len(whole)} of them the whole answer' if whole else ''}. "
            f"{lost} of {total} supervised tokens ({percent(lost, total)}) are lost; rows "
            f"{listed(row.row for row in affected)}.{lowered}",
            severity=severity,
            location=Location(config_path="/training/max_length", row=affected[0].row),
            evidence={
                "max_length": data.max_length,
                "num_rows": len(data.rows),
                "num_rows_cut": len(affected),
                "num_rows_whole_answer_lost": len(whole),
                "supervised_tokens_lost": lost,
                "supervised_tokens": total,
                "rows": [row.row for row in affected[:20]],
                "longest_affected_row_tokens": max(row.num_tokens_untruncated for row in affected),
            },
            fix=fixes[0],
            alternatives=fixes[1:],
        )

"""E105 budget-spent."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Severity
from hotfire.rules.wording import listed, number


class BudgetSpent(Rule):
    """The time budget ran out before everything planned was run.

    Why:
        What was not run was not judged, and counts neither as passed nor as failed: without an error the
        preflight is inconclusive.

    Example:
        `time_budget: 30s` with a model that needs 40 s for its first step.

    Fix:
        The budget that the finding names, or fewer stages.

    Source:
        The contract, `plan.time_budget`.
    """

    id = "E105"
    name = "budget-spent"
    severity = Severity.WARNING
    needs = ("environment",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Names what was not run, and the budget it would need."""
        environment = evidence.environment
        assert environment is not None
        if not environment.budget_spent:
            return
        budget = f" of {number(evidence.plan.time_budget_s)} s" if evidence.plan else ""
        missing = f"; not run: {listed(environment.not_run)}" if environment.not_run else ""
        needed = environment.budget_needed_s
        wanted = f" It would need about {number(round(needed))} s." if needed else ""
        description = (
            f"Set plan.time_budget to {number(round(needed))}s or more."
            if needed
            else "Raise plan.time_budget, or compare fewer stages."
        )
        yield Finding(
            message=f"The time budget{budget} ran out{missing}.{wanted}",
            evidence={"not_run": list(environment.not_run), "budget_needed_s": needed},
            fix=Fix(description=description),
        )

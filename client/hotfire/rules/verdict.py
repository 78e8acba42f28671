"""From findings to the verdict and its one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from hotfire.rules.evidence import Check, Evidence, Finding, Outcome, Severity, TrialOutcome, Verdict

#: Findings that mean "this worker could not judge it", whatever their severity.
_INCONCLUSIVE_RULES = {"unsafe-model", "budget-spent"}


def verdict_of(evidence: Evidence, findings: Sequence[Finding], checks: Sequence[Check]) -> Verdict:
    """FAIL before INCONCLUSIVE before WARN before PASS (contract §1, `Report.verdict`)."""
    if any(f.severity is Severity.ERROR for f in findings):
        return Verdict.FAIL
    if _not_exercised(evidence) or any(c.outcome is Outcome.ERROR for c in checks):
        return Verdict.INCONCLUSIVE
    if any(f.rule in _INCONCLUSIVE_RULES for f in findings):
        return Verdict.INCONCLUSIVE
    if any(f.severity is Severity.WARNING for f in findings):
        return Verdict.WARN
    return Verdict.PASS


def _not_exercised(evidence: Evidence) -> bool:
    """The candidate or the reference was wanted and did not run to its end."""
    if evidence.trials is None:
        return False
    main = (evidence.candidate, evidence.reference)
    return any(t is None or t.outcome is TrialOutcome.NOT_EXERCISED or not t.completed for t in main)


def headline_of(
    evidence: Evidence, verdict: Verdict, findings: Sequence[Finding], checks: Sequence[Check]
) -> str:
    """One sentence, cause first; says how many checks were skipped."""
    skipped = sum(c.outcome is Outcome.SKIPPED for c in checks)
    tail = f" ({skipped} of {len(checks)} checks skipped)" if skipped else ""
    if verdict is Verdict.PASS:
        steps = len(evidence.candidate.applied_steps) if evidence.candidate else 0
        return (
            f"It trains: {steps} optimizer steps applied, nothing wrong found"
            if steps
            else "Nothing wrong found"
        ) + tail
    if not findings:
        errors = [c.rule for c in checks if c.outcome is Outcome.ERROR]
        why = f"the rule {errors[0]} itself failed" if errors else "the job could not be run to its end here"
        return f"No verdict: {why}{tail}"
    return f"{findings[0].message}{tail}"

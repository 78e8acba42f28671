"""From findings to the verdict and its one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from hotfire.rules.evidence import (
    Check,
    Evidence,
    Finding,
    Fix,
    Outcome,
    Severity,
    Trial,
    TrialOutcome,
    Verdict,
    Verification,
)
from hotfire.rules.order import by_cause, is_symptom
from hotfire.rules.remedy import describe_patch
from hotfire.rules.wording import counted, first_sentence, listed, number

#: Findings that mean "this worker could not judge it", as long as none of them is an ERROR.
_INCONCLUSIVE_RULES = ("unsafe-model", "stale-extension-lock", "extension-build-fails", "budget-spent")
#: Lines of a log that say something about a training.
_ENOUGH_LINES = 3


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


def headline_of(
    evidence: Evidence, verdict: Verdict, findings: Sequence[Finding], checks: Sequence[Check]
) -> str:
    """One sentence, cause first: is ZeRO to blame, what was tried, how many checks were skipped."""
    ordered = by_cause(findings)
    match verdict:
        case Verdict.FAIL:
            text = _failure(ordered)
        case Verdict.INCONCLUSIVE:
            text = f"No verdict: {_why_no_verdict(evidence, ordered, checks)}"
        case Verdict.WARN:
            text = _warning(evidence, ordered)
        case _:
            text = _trains(evidence) or "Nothing wrong found"
    skipped = sum(c.outcome is Outcome.SKIPPED for c in checks)
    tail = f" ({skipped} of {len(checks)} checks skipped)" if skipped else ""
    return f"{text}{tail}."


def _failure(ordered: list[Finding]) -> str:
    errors = [f for f in ordered if f.severity is Severity.ERROR]
    cause = errors[0]
    parts = [first_sentence(cause.message)]
    if any(f.rule == "zero-not-the-cause" for f in ordered):
        parts.append("ZeRO is not to blame (the run without DeepSpeed fails the same way)")
    elif not cause.rule_id.startswith("Z") and any(f.rule_id == "Z102" for f in errors):
        parts.append("without DeepSpeed it trains")
    if cause.rule_id != "Z104" and (tried := _what_was_tried([cause, *errors])):
        parts.append(tried)
    others = dict.fromkeys(
        f.rule for f in errors[1:] if not is_symptom(f) and f.rule != cause.rule and not _same_patch(f, cause)
    )
    if others:
        parts.append(f"also wrong: {listed(others, limit=3)}")
    return "; ".join(parts)


def _same_patch(one: Finding, other: Finding) -> bool:
    """Both are cured by the same change, so they are two views of one fault."""
    return bool(one.fix and other.fix and one.fix.patch and one.fix.patch == other.fix.patch)


def _what_was_tried(errors: list[Finding]) -> str | None:
    """The best that is known of a fix: verified, else refuted, else proposed."""
    fixes = [fix for finding in errors for fix in (finding.fix, *finding.alternatives) if fix and fix.patch]
    words: dict[Verification, str] = {
        Verification.VERIFIED: "{} was tried and trains",
        Verification.REFUTED: "{} was tried and does not cure it",
        Verification.NOT_TRIED: "{} is proposed and was not tried",
    }
    for verification, template in words.items():
        if fix := _first(fixes, verification):
            return template.format(describe_patch(fix.patch))
    return None


def _first(fixes: list[Fix], verification: Verification) -> Fix | None:
    return next((fix for fix in fixes if fix.verification is verification), None)


def _warning(evidence: Evidence, ordered: list[Finding]) -> str:
    warnings = [f for f in ordered if f.severity is Severity.WARNING]
    trains = _trains(evidence, found="")
    text = first_sentence(warnings[0].message)
    more = len(warnings) - 1
    text += f", and {counted(more, 'more warning')}" if more else ""
    return f"{trains}, but: {text}" if trains else text


def _trains(evidence: Evidence, *, found: str = ", nothing wrong found") -> str | None:
    candidate = evidence.candidate
    if candidate is not None and candidate.from_log:
        return _log_shows(candidate, found)
    steps = len(candidate.applied_steps) if candidate else 0
    return f"It trains: {counted(steps, 'optimizer step')} applied{found}" if steps else None


def _log_shows(trial: Trial, found: str) -> str:
    """A log proves no more than what stands in it."""
    losses = [step.logged_loss for step in trial.steps if step.logged_loss is not None]
    curve = f", loss {number(losses[0])} to {number(losses[-1])}" if losses else ""
    wrong = "; nothing wrong in what a log shows" if found else ""
    return f"The log has {counted(len(trial.steps), 'logged step')}{curve}{wrong}"


def _not_exercised(evidence: Evidence) -> bool:
    """The candidate or the reference was wanted and did not run to its end."""
    candidate = evidence.candidate
    if candidate is not None and candidate.from_log:
        return len(candidate.steps) < _ENOUGH_LINES
    return evidence.trials is not None and any(
        not _ran_to_end(trial) for trial in (evidence.candidate, evidence.reference)
    )


def _ran_to_end(trial: Trial | None) -> bool:
    return trial is not None and trial.outcome is not TrialOutcome.NOT_EXERCISED and trial.completed


def _why_no_verdict(evidence: Evidence, ordered: list[Finding], checks: Sequence[Check]) -> str:
    blocking = [f for f in ordered if f.rule in _INCONCLUSIVE_RULES]
    if blocking:
        return first_sentence(blocking[0].message)
    if evidence.candidate is not None and evidence.candidate.from_log:
        return f"the log has only {counted(len(evidence.candidate.steps), 'logged step')}, too few to judge a training"
    if evidence.trials is not None:
        for trial, what in (
            (evidence.candidate, "the job as given"),
            (evidence.reference, "the run without DeepSpeed"),
        ):
            if trial is None:
                return f"{what} was not run"
            if not _ran_to_end(trial):
                error = f"{trial.error.type}: {trial.error.message[:200]}" if trial.error else None
                why = trial.reason or error or "no reason was given"
                return f"{what} did not run to its end here: {why.rstrip('.')}"
    errors = [c.rule for c in checks if c.outcome is Outcome.ERROR]
    return f"the rule {errors[0]} itself failed" if errors else "the job could not be run to its end here"

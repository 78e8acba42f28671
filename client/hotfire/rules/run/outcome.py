"""What became of one trial, in the words of the run rules."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from hotfire.rules.engine import judge
from hotfire.rules.evidence import Evidence, Finding, Phase, Severity, Trial, TrialOutcome
from hotfire.rules.run import RUN_RULES
from hotfire.rules.run.judged import is_before_the_job, non_finite_loss
from hotfire.rules.wording import first_sentence

#: Outcomes that the runner sees for itself.
_SEEN_BY_RUNNER = {
    TrialOutcome.NOT_EXERCISED,
    TrialOutcome.CRASHED,
    TrialOutcome.OUT_OF_MEMORY,
    TrialOutcome.HUNG,
}
#: The kinds of failure, root causes first.
_ORDER = (
    "crash",
    "out-of-memory",
    "hang",
    "no-supervised-tokens",
    "non-finite",
    "overflow",
    "no-gradient",
    "zero-gradient",
    "unchanged",
    "decay-only",
    "rounded-away",
    "ranks-diverge",
    "diverging",
    "learning-rate",
    "same-data",
)
_KIND_OF_RULE = {
    "R106": "no-gradient",
    "R107": "unchanged",
    "R108": "rounded-away",
    "R109": "decay-only",
    "R112": "diverging",
    "R114": "learning-rate",
    "R117": "ranks-diverge",
    "R118": "same-data",
    "R119": "out-of-memory",
    "R121": "hang",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One trial and what the run rules say of it alone."""

    outcome: TrialOutcome
    reason: str
    kinds: tuple[str, ...]
    """How it fails, the root first: such as "no-supervised-tokens" or "crash:CheckpointError"."""

    @property
    def trains(self) -> bool:
        """No run rule has an ERROR on this trial."""
        return self.outcome is TrialOutcome.TRAINS

    @property
    def fails(self) -> bool:
        """It ran and does not train."""
        return self.outcome not in (TrialOutcome.TRAINS, TrialOutcome.NOT_EXERCISED)

    def fails_like(self, other: Judged) -> bool:
        """Both fail, and the root of this one is among the ways in which the other fails."""
        return self.fails and other.fails and bool(self.kinds) and self.kinds[0] in other.kinds


def outcome_of(trial: Trial, evidence: Evidence) -> tuple[TrialOutcome, str]:
    """How a trial ended, and why, in one sentence.

    Args:
        trial: Any trial: candidate, reference, stage, bisect or fix.
        evidence: The job it belongs to. Its other trials are not looked at.

    Returns:
        TRAINS means that no run rule has an ERROR on this trial alone.
    """
    judged = judge_trial(trial, evidence)
    return judged.outcome, judged.reason


def judge_trial(trial: Trial, evidence: Evidence) -> Judged:
    """Runs the run rules over one trial."""
    if trial.outcome is TrialOutcome.NOT_EXERCISED:
        return Judged(outcome=trial.outcome, reason=trial.reason or "it was not run", kinds=())
    if is_before_the_job(trial):
        said = f": {trial.error.type}: {trial.error.message[:200]}" if trial.error else ""
        reason = f"it did not come as far as the job's model on this worker{said}"
        return Judged(outcome=TrialOutcome.NOT_EXERCISED, reason=reason, kinds=())
    alone = dataclasses.replace(evidence, trials=[trial])
    errors = [f for f in judge(alone, rules=RUN_RULES).findings if f.severity is Severity.ERROR]
    kinds = _kinds(trial, errors)
    if not errors:
        outcome, reason = _without_errors(trial)
        return Judged(outcome=outcome, reason=reason, kinds=())
    outcome = _outcome(trial, errors)
    if outcome is TrialOutcome.DIVERGES:
        kinds = ["diverging", *(kind for kind in kinds if kind not in ("diverging", "non-finite"))]
    root = _root_finding(errors, kinds)
    return Judged(outcome=outcome, reason=first_sentence(root.message), kinds=tuple(kinds))


def _without_errors(trial: Trial) -> tuple[TrialOutcome, str]:
    if trial.outcome in _SEEN_BY_RUNNER:
        return trial.outcome, trial.reason or "the runner says so"
    if not trial.steps:
        return TrialOutcome.NOT_EXERCISED, trial.reason or "it did not come to a step"
    if not trial.completed:
        return TrialOutcome.NOT_EXERCISED, trial.reason or "it was stopped before its end"
    count = len(trial.applied_steps)
    return TrialOutcome.TRAINS, f"{count} optimizer steps applied, nothing wrong found"


def _outcome(trial: Trial, errors: list[Finding]) -> TrialOutcome:
    ids = {finding.rule_id for finding in errors}
    if trial.outcome in _SEEN_BY_RUNNER:
        return trial.outcome
    for rule_id, outcome in (
        ("R119", TrialOutcome.OUT_OF_MEMORY),
        ("R121", TrialOutcome.HUNG),
        ("R122", TrialOutcome.CRASHED),
        ("R112", TrialOutcome.DIVERGES),
    ):
        if rule_id in ids:
            return outcome
    if "R101" in ids and _becomes_non_finite(trial):
        return TrialOutcome.DIVERGES
    return TrialOutcome.DOES_NOT_TRAIN


def _becomes_non_finite(trial: Trial) -> bool:
    """Healthy at first, then non-finite to the end, with tokens to learn from: the weights went."""
    bad = [non_finite_loss(step) for step in trial.steps]
    start = bad.index(True)
    if start == 0 or not all(bad[start:]):
        return False
    first = trial.steps[start]
    moved = any((step.learning_rate or 0) > 0 for step in trial.steps[:start]) or first.phase is Phase.PEAK
    return moved and first.num_supervised_tokens != 0


def _kinds(trial: Trial, errors: list[Finding]) -> list[str]:
    kinds = {_kind(trial, finding) for finding in errors}
    if len(kinds) > 1:
        # DeepSpeed gives up after so many overflows: the end of another failure, none of its own.
        kinds.discard("crash:loss-scale-minimum")

    def rank(kind: str) -> int:
        return _ORDER.index(kind.split(":")[0])

    return sorted(kinds, key=rank)


def _kind(trial: Trial, finding: Finding) -> str:
    if known := _KIND_OF_RULE.get(finding.rule_id):
        return known
    if finding.rule_id == "R122":
        return f"crash:{finding.evidence.get('known_cause') or finding.evidence.get('type')}"
    if finding.evidence.get("mechanism") in ("no-supervised-tokens", "masked-micro-batch"):
        return "no-supervised-tokens"
    if finding.rule_id == "R110":
        return "overflow" if trial.dtype == "fp16" else "non-finite"
    if finding.rule_id in ("R102", "R103"):
        return "zero-gradient"
    return "non-finite"


def _root_finding(errors: list[Finding], kinds: list[str]) -> Finding:
    """The finding that tells of the first kind; errors are already ordered by cause."""
    wanted = {"crash": "R122", "out-of-memory": "R119", "hang": "R121", "diverging": "R112"}
    rule_id = wanted.get(kinds[0].split(":")[0]) if kinds else None
    return next((finding for finding in errors if finding.rule_id == rule_id), errors[0])

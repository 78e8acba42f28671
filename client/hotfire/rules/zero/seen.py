"""A trial as the ZeRO rules see it: what the run rules say of it, and how near it is to its reference."""

from __future__ import annotations

from dataclasses import dataclass

from hotfire.rules.evidence import Evidence, Trial
from hotfire.rules.run.outcome import Judged, judge_trial
from hotfire.rules.zero.compare import Agreement, compare


@dataclass(frozen=True, slots=True)
class Seen:
    """A trial with its judgement and how near it is to the reference."""

    trial: Trial
    judged: Judged
    agreement: Agreement

    @property
    def healthy(self) -> bool:
        """It trains, and not otherwise than the reference."""
        return self.judged.trains and self.agreement.agrees is not False


def see(trial: Trial, evidence: Evidence) -> Seen:
    """Looks at one trial of the evidence."""
    reference = reference_of(trial, evidence)
    agreement = (
        compare(trial, reference)
        if reference is not None
        else Agreement(agrees=None, reason="there is no reference")
    )
    return Seen(trial, judge_trial(trial, evidence), agreement)


def reference_of(trial: Trial, evidence: Evidence) -> Trial | None:
    """The reference that belongs to a trial: its own, where its patch changes what the job's depends on."""
    if trial.compared_with is not None:
        return next((t for t in evidence.trials or [] if t.name == trial.compared_with), None)
    return evidence.reference

"""Z103 zero-diverges-from-reference."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Location, Severity
from hotfire.rules.run.outcome import judge_trial
from hotfire.rules.zero.compare import compare
from hotfire.rules.zero.verdict import STAGE_PATH, fix_of, other_fixes, zero_verdict


class ZeroDivergesFromReference(Rule):
    """The job and the run without DeepSpeed both train, but not to the same place.

    Why:
        From the same weights and batches, the loss and the gradient norm of the first step must agree;
        rounding explains 1e-5 in fp32 and 4e-4 in bf16. A larger gap is a gradient that lost a part, and
        shows nowhere else.

    Example:
        DeepSpeed 0.17.6 at stage 2 with accumulation 2: norm 0.649 instead of 0.907, because only the last
        micro-batch is kept.

    Fix:
        The stage, key or version of the trial that agrees.

    Source:
        Measured; deepspeedai/DeepSpeed issues 7718, 7749; huggingface/accelerate issue 3877.
    """

    id = "Z103"
    name = "zero-diverges-from-reference"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Compares where both train; `zero-stage-does-not-train` has the other case."""
        candidate, reference = evidence.candidate, evidence.reference
        if candidate is None or reference is None:
            raise Skip("the job as given and the run without DeepSpeed were not both run")
        if not judge_trial(candidate, evidence).trains or not judge_trial(reference, evidence).trains:
            raise Skip("the job as given and the run without DeepSpeed do not both train")
        agreement = compare(candidate, reference)
        if agreement.agrees is None:
            raise Skip(agreement.reason)
        if agreement.agrees:
            return
        verdict = zero_verdict(evidence)
        yield Finding(
            message=verdict.explanation,
            location=Location(
                config_path=verdict.guilty_keys[0] if verdict.guilty_keys else STAGE_PATH,
                trial=candidate.name,
            ),
            evidence={
                "loss_gap": agreement.loss_gap,
                "grad_norm_gap": agreement.grad_norm_gap,
                "reason": agreement.reason,
                "guilty": verdict.guilty,
                "guilty_keys": verdict.guilty_keys,
            },
            fix=fix_of(verdict),
            alternatives=other_fixes(verdict),
        )

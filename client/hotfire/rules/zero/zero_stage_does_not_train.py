"""Z102 zero-stage-does-not-train."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Location, Severity
from hotfire.rules.run.outcome import judge_trial
from hotfire.rules.zero.verdict import STAGE_PATH, fix_of, other_fixes, zero_verdict


class ZeroStageDoesNotTrain(Rule):
    """The job does not train as given, and does without DeepSpeed.

    Why:
        Same batches, seed, ranks and optimizer, only DeepSpeed taken away: what is left as the cause is the
        ZeRO stage or a key of the DeepSpeed config. That another stage cures it does not by itself make it a
        bug of DeepSpeed.

    Example:
        A static loss scale of 2^24: every step is skipped at every stage, while plain PyTorch trains.

    Fix:
        The patch of the trial that trains: other keys at this stage, or another stage.

    Source:
        Measured cases: fp16 at stage 0, static loss scale, experts under stage 3.
    """

    id = "Z102"
    name = "zero-stage-does-not-train"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Candidate fails, reference trains."""
        candidate, reference = evidence.candidate, evidence.reference
        if candidate is None or reference is None:
            raise Skip("the job as given and the run without DeepSpeed were not both run")
        if not judge_trial(candidate, evidence).fails or not judge_trial(reference, evidence).trains:
            return
        verdict = zero_verdict(evidence)
        path = verdict.guilty_keys[0] if verdict.guilty_keys else STAGE_PATH
        yield Finding(
            message=verdict.explanation,
            location=Location(config_path=path, trial=candidate.name),
            evidence={
                "submitted_stage": verdict.submitted_stage,
                "guilty": verdict.guilty,
                "guilty_keys": verdict.guilty_keys,
                "outcomes": {str(stage.stage): stage.outcome for stage in verdict.stages},
            },
            fix=fix_of(verdict),
            alternatives=other_fixes(verdict),
        )

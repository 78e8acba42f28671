"""Z101 zero-not-the-cause."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Guilty, Location, Severity
from hotfire.rules.zero.verdict import zero_verdict


class ZeroNotTheCause(Rule):
    """The run without DeepSpeed fails the same way: ZeRO is not the cause.

    Why:
        "Switch to ZeRO-3" is the common advice for a loss of 0.0. Where plain PyTorch on the same batches
        fails alike, no stage can cure it, and the cause is in the data, the model, the precision or the
        arguments.

    Example:
        All labels are -100: loss NaN and gradient norm 0 at stages 1, 2, 3 and without DeepSpeed.

    Fix:
        That of the other findings; the ZeRO stage may stay as it is.

    Source:
        Measured; zai-org/GLM-4 issues 251 and 260.
    """

    id = "Z101"
    name = "zero-not-the-cause"
    severity = Severity.INFO
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Asks the ZeRO verdict."""
        verdict = zero_verdict(evidence)
        if verdict.guilty is not Guilty.NOT_ZERO:
            return
        reference = evidence.reference
        yield Finding(
            message=verdict.explanation,
            location=Location(trial=reference.name if reference else None),
            evidence={
                "submitted_stage": verdict.submitted_stage,
                "outcomes": {str(stage.stage): stage.outcome for stage in verdict.stages},
            },
        )

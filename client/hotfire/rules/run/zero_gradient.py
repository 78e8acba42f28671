"""R103 zero-gradient."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity, Step, Trial
from hotfire.rules.run.judged import (
    applied,
    judged_steps,
    norm,
    noun_of,
    plural_steps,
    step_list,
    supervised_tokens,
)
from hotfire.rules.run.signature import Mechanism, because, mechanism_of_step
from hotfire.rules.wording import number


class ZeroGradient(Rule):
    """The gradient norm is exactly 0 at applied steps.

    Why:
        The optimizer steps, the learning rate moves, and the model learns nothing; AdamW's weight decay
        still moves the weights, so "the weights change" proves nothing. NaN gradients cannot print 0.0: this
        is not the ZeRO-2 gradient race.

    Example:
        `grad_norm: 0.0` at every step: all labels are -100.

    Fix:
        Labels for the rows (`no-supervised-tokens`), or a path from the loss to the weights
        (`no-gradient-for-trainable`).

    Source:
        Measured at ZeRO 1, 2, 3 and without DeepSpeed; zai-org/GLM-4 issue 260; OpenBMB/MiniCPM-V issue 346.
    """

    id = "R103"
    name = "zero-gradient"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Applied steps only: a skipped step keeps the norm of an earlier one, or 0."""
        trial, steps = judged_steps(evidence)
        counting = [step for step in applied(steps) if norm(step) is not None]
        if not counting:
            raise Skip("no applied step has a gradient norm")
        bad = [step for step in counting if norm(step) == 0 and not _is_skipped_in_a_log(trial, step)]
        if not bad:
            return
        first = bad[0]
        mechanism = mechanism_of_step(trial, first) or Mechanism.NO_GRADIENT
        few = 2 * len(bad) < len(counting)
        lowered = " Lowered to a warning: the other steps have a gradient." if few else ""
        loss = first.loss if first.loss is not None else first.logged_loss
        remedy = (
            "Give the rows labels; no-supervised-tokens names them."
            if mechanism is Mechanism.NO_SUPERVISED_TOKENS
            else "Find what cuts the loss off from the trainable weights; no-gradient-for-trainable names "
            "the groups."
        )
        yield Finding(
            message=f"The gradient norm is exactly 0 at {plural_steps(bad, counting, noun_of(trial))}, "
            f"{because(trial, mechanism)}. "
            f"The loss there is {number(loss)}.{lowered}",
            severity=Severity.WARNING if few else Severity.ERROR,
            location=Location(step=first.step, trial=trial.name),
            evidence={
                "mechanism": mechanism.value,
                "steps": step_list(bad),
                "num_supervised_tokens": supervised_tokens(first),
                "loss": loss,
                "learning_rate": first.learning_rate,
            },
            fix=Fix(description=remedy),
        )


def _is_skipped_in_a_log(trial: Trial, step: Step) -> bool:
    """Norm and learning rate at their initial 0: the step was skipped, or its batch was never reached."""
    return trial.from_log and mechanism_of_step(trial, step) is Mechanism.SKIPPED

"""R104 non-finite-gradient."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity, Step, Trial
from hotfire.rules.remedy import bf16_instead
from hotfire.rules.run.judged import (
    first_non_finite_parameter,
    judged_steps,
    non_finite_gradient,
    non_finite_loss,
    norm,
    step_list,
)
from hotfire.rules.wording import number


class NonFiniteGradient(Rule):
    """A gradient is NaN or infinite.

    Why:
        ZeRO skips such a step from 0.19.7 on (norm `inf`); older versions print 1.0, 1.414 or nan; stage 0
        in fp32, and plain PyTorch, apply it and destroy the weights.

    Example:
        Step 2, rank 1: the gradient of `model.layers.3.mlp.down_proj.weight` is NaN while the loss is finite.

    Fix:
        bf16 instead of fp16; else the operation that the parameter belongs to. Overflow while the fp16 loss
        scale is being found is normal and not reported (see `all-steps-skipped`).

    Source:
        DeepSpeed utils.py, `mask_nan_or_inf_with_val_inplace`; DeepSpeed pull requests 7171, 8035.
    """

    id = "R104"
    name = "non-finite-gradient"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """The first step with a non-finite norm that the loss-scale search does not explain."""
        trial, steps = judged_steps(evidence)
        bad = [step for step in steps if non_finite_gradient(step) and not _is_scale_search(trial, step)]
        if not bad:
            return
        first = bad[0]
        parameter, rank = first_non_finite_parameter(first)
        named = f", first in {parameter}" if parameter else ""
        follows = (
            " It follows from the non-finite loss of that step."
            if non_finite_loss(first) and not trial.from_log
            else ""
        )
        done = (
            "The step was skipped"
            if first.applied is False
            else "The step was applied, which destroys the weights"
            if first.applied
            else "Whether the step was applied is not known"
        )
        fixes = [fix for fix in (bf16_instead(evidence) if trial.dtype == "fp16" else None,) if fix]
        fixes.append(
            Fix(
                description="Look at the operation that this parameter belongs to; try attn_implementation "
                "eager."
                if not follows
                else "Cure the loss first: non-finite-loss names the mechanism."
            )
        )
        yield Finding(
            message=f"The gradient is not finite at step {first.step}{named}: norm {number(norm(first))}. "
            f"{done}; "
            f"{len(bad)} of {len(steps)} steps are affected.{follows}",
            location=Location(step=first.step, rank=rank, parameter=parameter, trial=trial.name),
            evidence={
                "steps": step_list(bad),
                "grad_norm": first.grad_norm,
                "grad_norm_measured": first.grad_norm_measured,
                "loss": first.loss,
                "applied": first.applied,
                "loss_scale": first.loss_scale,
            },
            fix=fixes[0],
            alternatives=fixes[1:],
        )


def _is_scale_search(trial: Trial, step: Step) -> bool:
    """fp16 with a finite loss: the gradient times the loss scale overflowed, and the step was skipped."""
    if trial.dtype != "fp16" or step.applied is not False or non_finite_loss(step):
        return False
    # At a scale of 1 or less nothing is left to blame on the scale.
    return step.loss_scale is None or step.loss_scale > 1

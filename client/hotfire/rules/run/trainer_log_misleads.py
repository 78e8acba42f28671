"""R125 trainer-log-misleads."""

from __future__ import annotations

import math
from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Location, Severity
from hotfire.rules.run.judged import judged_steps, step_list, trainer_line
from hotfire.rules.wording import number


class TrainerLogMisleads(Rule):
    """What the HF Trainer prints differs from what happens.

    Why:
        The Trainer leaves NaN losses out of its running sum, so a run that is all NaN prints loss 0.0. Older
        DeepSpeed prints 1.0 or 1.414 for a NaN norm. Who reads the log looks for a loss of 0, which nothing
        produces.

    Example:
        `{'loss': 0.0, 'grad_norm': 0.0, 'learning_rate': 0.001}` where the raw loss is NaN: no token has a
        label.

    Fix:
        Nothing to fix in itself: the errors above name the cause.

    Source:
        transformers 5.23 trainer.py, lines 1911 to 1917; DeepSpeed utils.py,
        `mask_nan_or_inf_with_val_inplace`.
    """

    id = "R125"
    name = "trainer-log-misleads"
    severity = Severity.INFO
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Compares the printed loss and norm of each step with the measured ones."""
        trial, steps = judged_steps(evidence)
        if trial.from_log:
            raise Skip("it takes the measured numbers beside the printed ones")
        if all(step.logged_loss is None and step.logged_grad_norm is None for step in steps):
            raise Skip("this loop prints no Trainer log")
        loss = [step for step in steps if _hides(step.logged_loss, step.loss)]
        norms = [step for step in steps if _hides(step.logged_grad_norm, step.grad_norm_measured)]
        if not loss and not norms:
            return
        parts = []
        if loss:
            first = loss[0]
            parts.append(
                f"The Trainer's log prints {trainer_line(first)} at step {first.step} where the loss is "
                f"{number(first.loss)}"
            )
        if norms:
            first = norms[0]
            parts.append(
                f"The Trainer's log prints grad_norm {number(first.logged_grad_norm)} at step {first.step} "
                "where the norm is "
                f"{number(first.grad_norm_measured)}"
            )
        yield Finding(
            message=". ".join(parts)
            + f". {len({s.step for s in loss + norms})} of {len(steps)} steps are affected.",
            location=Location(step=(loss or norms)[0].step, trial=trial.name),
            evidence={
                "log_line": trainer_line((loss or norms)[0]),
                "steps_loss": step_list(loss),
                "steps_grad_norm": step_list(norms),
            },
        )


def _hides(logged: float | None, measured: float | None) -> bool:
    """A finite number is printed for one that is not finite."""
    return (
        logged is not None and measured is not None and math.isfinite(logged) and not math.isfinite(measured)
    )

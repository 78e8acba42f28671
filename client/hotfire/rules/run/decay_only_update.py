"""R109 decay-only-update."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity
from hotfire.rules.run.judged import applied, judged_steps, norm, plural_steps, step_list
from hotfire.rules.wording import counted, number

#: Twice what rounding to fp32 alone may move a weight: below it decay and learning look alike.
_MEASURABLE = 2.0**-23


class DecayOnlyUpdate(Rule):
    """The weights move, and weight decay alone explains it: nothing is learnt.

    Why:
        AdamW shrinks every weight by learning rate times weight decay, gradient or not. "89 % of the
        elements changed" then looks like training. The measured movement is laid beside the pure decay.

    Example:
        All labels are -100: 21 of 21 tensors move by exactly 1e-5 of their size at every step.

    Fix:
        That of `zero-gradient`, where the gradient is 0. With a gradient: the optimizer does not get it;
        build it from the parameters that the engine trains.

    Source:
        Measured in fp32 at stages 0 to 3 (weights that change with gradient norm 0.0).
    """

    id = "R109"
    name = "decay-only-update"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Applied, measured steps at which something moved; all of it by decay."""
        trial, steps = judged_steps(evidence)
        counting = [
            step
            for step in applied(steps)
            if step.num_decayed_only is not None
            and step.num_moved
            and (step.learning_rate or 0) > 0
            and (step.update_ratio or 0) > _MEASURABLE
        ]
        if not counting:
            raise Skip("no applied step at which the weights move has its movement measured")
        bad = [step for step in counting if step.num_decayed_only == step.num_moved]
        if len(bad) < len(counting):
            return
        first = bad[0]
        size = norm(first)
        without = all(norm(step) == 0 for step in bad)
        lowered = " Lowered to info: zero-gradient tells of the cause." if without else ""
        yield Finding(
            message=f"The weights move by weight decay alone at {plural_steps(bad, counting)} measured: "
            f"{counted(first.num_moved or 0, 'tensor')}, by {number(first.update_ratio)} of their size, which "
            f"is learning rate times weight decay. The gradient norm there is {number(size)}.{lowered}",
            severity=Severity.INFO if without else Severity.ERROR,
            location=Location(step=first.step, trial=trial.name),
            evidence={
                "steps": step_list(bad),
                "num_moved": first.num_moved,
                "update_ratio": first.update_ratio,
                "learning_rate": first.learning_rate,
                "weight_decay": trial.facts.get("weight_decay"),
                "grad_norm": size,
            },
            fix=Fix(
                description="Give the weights a gradient: see zero-gradient."
                if without
                else "Build the optimizer from the parameters of the model that the engine trains."
            ),
        )

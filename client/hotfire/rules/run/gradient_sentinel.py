"""R105 gradient-sentinel."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity, Step, Trial
from hotfire.rules.run.judged import ROUNDING, is_finite, judged_steps, sentinel_groups, step_list
from hotfire.rules.wording import listed

_MAX_GROUPS = 8
#: What a log that prints the norm *after* clipping repeats for ever, where nobody says what was clipped at.
_USUAL_CLIPPING = 1.0


class GradientSentinel(Rule):
    """The gradient norm is √k of the parameter groups: a hidden NaN.

    Why:
        Up to 0.19.6 DeepSpeed's ZeRO 1 and 2 replace a NaN or infinite norm of a parameter group by -1 and
        combine the groups: one group prints 1.0, two 1.4142135, three 1.7320508. It looks stable and is a
        NaN. A log whose norm is taken after clipping prints 1.0 too, with a healthy loss: that is told apart.

    Example:
        `loss 0.0, grad_norm 1.4142135623730951` at every step.

    Fix:
        Find the NaN (`non-finite-loss`, `non-finite-gradient`); a DeepSpeed from 0.19.7 on prints `inf` and
        skips.

    Source:
        deepspeedai/DeepSpeed issues 5242, 5347; hiyouga/LlamaFactory issue 9567; QwenLM/Qwen3-VL issue 1981.
    """

    id = "R105"
    name = "gradient-sentinel"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Two steps in a row with the same √k, which neither our own norm nor the clipping explains."""
        trial, steps = judged_steps(evidence)
        if all(_printed(step) is None for step in steps):
            raise Skip("no step has the engine's gradient norm")
        for before, after in pairwise(steps):
            k = _groups(before)
            if k is None or _groups(after) != k or k > _num_groups(trial):
                continue
            if _is_clipped_norm(evidence, trial, k, (before, after)):
                continue
            bad = [step for step in steps if _groups(step) == k]
            yield Finding(
                message=f"The gradient norm is √{k} = {k**0.5:.7g} at steps "
                f"{listed(step.step for step in bad)}: DeepSpeed's "
                f"mark for {'a group' if k == 1 else f'{k} groups'} whose gradient is NaN or infinite.",
                location=Location(step=bad[0].step, trial=trial.name),
                evidence={
                    "num_groups": k,
                    "steps": step_list(bad),
                    "grad_norm": _printed(bad[0]),
                    "grad_norm_measured": bad[0].grad_norm_measured,
                    "deepspeed": trial.versions.get("deepspeed"),
                },
                fix=Fix(
                    description="Find the source of the NaN: run without overlap_comm and without fp16; "
                    "DeepSpeed from "
                    "0.19.7 on reports it instead of hiding it."
                ),
            )
            return


def _printed(step: Step) -> float | None:
    return step.grad_norm if step.grad_norm is not None else step.logged_grad_norm


def _num_groups(trial: Trial) -> int:
    """Parameter groups of the optimizer: no more of them can be marked."""
    known = trial.facts.get("num_parameter_groups")
    return known if isinstance(known, int) and known > 0 else _MAX_GROUPS


def _is_clipped_norm(evidence: Evidence, trial: Trial, k: int, steps: tuple[Step, Step]) -> bool:
    """The loss lives on and √k is the clipping value: the norm was taken after clipping.

    A hidden NaN in the gradient destroys the weights at once: the next loss is NaN, or printed as 0.
    """
    if any(step.grad_norm_measured is not None for step in steps):
        return False  # ours is from before the clipping, and it does not agree
    losses = [step.loss if step.loss is not None else step.logged_loss for step in steps]
    if not all(is_finite(loss) and loss != 0 for loss in losses):
        return False
    value = trial.facts.get("engine_gradient_clipping") or (evidence.training or {}).get("max_grad_norm")
    clipping = float(value) if isinstance(value, int | float) else _USUAL_CLIPPING
    return bool(abs(clipping - k**0.5) <= ROUNDING)


def _groups(step: Step) -> int | None:
    """The k for which the printed norm is √k, unless our own norm says the same."""
    value = _printed(step)
    if value is None or not is_finite(value):
        return None
    own = step.grad_norm_measured
    if own is not None and is_finite(own) and abs(own - value) <= 1e-3 * value:
        return None
    return sentinel_groups(value)

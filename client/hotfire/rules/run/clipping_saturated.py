"""R115 clipping-saturated."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity, Trial
from hotfire.rules.remedy import has, is_literal, set_value
from hotfire.rules.run.judged import applied, is_finite, judged_steps, norm, step_list
from hotfire.rules.wording import number

_SATURATED = 10.0
_FAR = 1000.0
#: Adam divides by the gradient's own size, so that a constant factor is next to invisible to it.
_SCALE_FREE = ("adam", "lamb", "lion", "adafactor", "muon", "adagrad")


class ClippingSaturated(Rule):
    """Every step is clipped by more than ten times.

    Why:
        Then the clipping value, and not the gradient, sets the size of the step: all batches count alike,
        and with SGD the learning rate is a tenth of what is written, or less. Often the value was not chosen
        at all: without the key DeepSpeed clips at 1.0 from 0.19.3 on and not at all before.

    Example:
        Gradient norms of 14 to 22 at all steps, clipped at 0.1.

    Fix:
        A value near the norms that are measured; or find why they are so large (accumulation, a loss that is
        summed and not averaged).

    Source:
        DeepSpeed config.py (default of gradient_clipping), commit 442166559; `failures.md` F88.
    """

    id = "R115"
    name = "clipping-saturated"
    severity = Severity.WARNING
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """All applied steps; INFO for an optimizer to which a constant factor does not matter."""
        trial, steps = judged_steps(evidence)
        value = trial.facts.get("engine_gradient_clipping")
        if not isinstance(value, int | float):
            raise Skip("the value that gradients are clipped at is not known")
        if not is_finite(value) or value <= 0:
            return  # it does not clip
        norms = [size for step in applied(steps) if (size := norm(step)) is not None and is_finite(size)]
        if len(norms) < 2:
            raise Skip("fewer than two applied steps have a finite gradient norm")
        if min(norms) <= _SATURATED * value:
            return
        middle = statistics.median(norms)
        by = middle / value
        optimizer = str(trial.facts.get("optimizer") or "")
        harmless = by < _FAR and any(name in optimizer.lower() for name in _SCALE_FREE)
        why = (
            f" Lowered to info: {optimizer} hardly sees a constant factor."
            if harmless
            else f" With {optimizer} the steps are that much smaller than the learning rate says."
            if optimizer and not any(name in optimizer.lower() for name in _SCALE_FREE)
            else ""
        )
        yield Finding(
            message=f"All {len(norms)} applied steps are clipped by more than 10 times: the gradient norm is "
            f"{number(middle)} in the middle, the clipping value {number(value)}.{why}",
            severity=Severity.INFO if harmless else Severity.WARNING,
            location=Location(config_path=_place(evidence), trial=trial.name),
            evidence={
                "clipping": value,
                "norm_median": middle,
                "norm_min": min(norms),
                "factor": by,
                "steps": step_list(applied(steps)),
                "optimizer": optimizer or None,
            },
            fix=_fix(evidence, trial, middle),
        )


def _place(evidence: Evidence) -> str | None:
    for path in ("/deepspeed/gradient_clipping", "/training/max_grad_norm"):
        if has(evidence, path):
            return path
    return None


def _fix(evidence: Evidence, trial: Trial, middle: float) -> Fix:
    value = float(f"{middle:.1g}")
    if trial.loop == "trainer" and not is_literal(evidence, "/deepspeed/gradient_clipping"):
        paths = ["/training/max_grad_norm"]
        if not has(evidence, "/deepspeed/gradient_clipping"):
            # Without the key the engine clips at its own default, whatever the argument says.
            paths.append("/deepspeed/gradient_clipping")
    else:
        paths = ["/deepspeed/gradient_clipping"]
        if has(evidence, "/training/max_grad_norm"):
            paths.append("/training/max_grad_norm")
    return Fix(
        description=f"Clip near the norms that were measured ({value:g}), or find why they are so large.",
        patch=[set_value(evidence, path, value) for path in paths],
    )

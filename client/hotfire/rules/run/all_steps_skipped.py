"""R110 all-steps-skipped."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity, Step, Trial
from hotfire.rules.remedy import bf16_instead, is_literal, set_value
from hotfire.rules.run.judged import judged_steps, never_moves, non_finite_loss
from hotfire.rules.wording import counted, number

#: Skipped steps at the start that any fp16 run may need to find its scale.
_USUAL_SEARCH = 3
_USUAL_POWER = 16


class AllStepsSkipped(Rule):
    """Every step was skipped: no optimizer step was ever applied.

    Why:
        On overflow DeepSpeed skips the step, halves the loss scale and leaves the learning rate where it is.
        If that never ends, the job runs for days with a flat loss and a learning rate of 0, or dies with
        "loss scale already at minimum". A few skipped steps at the start are the search for the scale and
        are normal.

    Example:
        A model trained in bf16, run in fp16: overflow at every step, scale 65536, 32768, 16384, …

    Fix:
        bf16 instead of fp16; dynamic instead of static loss scale; a lower `initial_scale_power` where the
        search alone takes the steps.

    Source:
        hiyouga/LlamaFactory issues 1358, 986, 4202; deepspeedai/DeepSpeedExamples issue 418; DeepSpeed issue
        782.
    """

    id = "R110"
    name = "all-steps-skipped"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """ERROR if nothing was applied; INFO if a long search came before the first applied step."""
        trial, steps = judged_steps(evidence)
        if all(step.applied is None for step in steps):
            if _log_says_skipped(trial, steps):
                yield _log_finding(trial, steps)
            return
        skipped = [step for step in steps if step.applied is False]
        if len(skipped) == len(steps):
            yield _never_finding(evidence, trial, steps)
            return
        search = next(number for number, step in enumerate(steps) if step.applied is not False)
        if trial.dtype == "fp16" and search > _USUAL_SEARCH:
            yield _search_finding(evidence, trial, steps, search)


def _never_finding(evidence: Evidence, trial: Trial, steps: list[Step]) -> Finding:
    scales = [step.loss_scale for step in steps if step.loss_scale is not None]
    numbers: dict[str, Any] = {
        "num_steps": len(steps),
        "loss_scales": scales[:40],
        "dtype": trial.dtype,
    }
    place = Location(config_path="/deepspeed/fp16", step=steps[0].step, trial=trial.name)
    if trial.dtype != "fp16":
        place.config_path = None
        return Finding(
            message=f"All {counted(len(steps), 'step')} were skipped: the gradient is not finite at any of "
            "them. "
            "No optimizer step was applied and the learning rate did not move.",
            location=place,
            evidence=numbers,
            fix=Fix(
                description="Cure the non-finite loss or gradient; non-finite-loss and non-finite-gradient "
                "name it."
            ),
        )
    finite = not any(non_finite_loss(step) for step in steps)
    static = bool(scales) and len(scales) > 1 and len(set(scales)) == 1 and len(steps) > 4
    trajectory = (
        f"loss scale {number(scales[0])} to {number(scales[-1])}" if scales else "loss scale not measured"
    )
    forecast = "" if static else _forecast(trial, scales, numbers)
    if static:
        trajectory = f"the loss scale stays at {number(scales[0])}"
    if not finite:
        forecast = (
            " The loss itself is not finite, so that no loss scale helps: non-finite-loss has the cause."
        )
    fixes = _fixes(
        evidence,
        static=static,
        search=finite and bool(scales) and scales[-1] > 2**_USUAL_POWER,
        finite=finite,
    )
    return Finding(
        message=f"All {counted(len(steps), 'step')} were skipped on fp16 overflow: {trajectory}. No "
        "optimizer step was "
        f"applied and the learning rate did not move.{forecast}",
        location=place,
        evidence=numbers,
        fix=fixes[0] if fixes else Fix(description="Train in fp32, or on GPUs with bf16."),
        alternatives=fixes[1:],
    )


def _forecast(trial: Trial, scales: list[float], numbers: dict[str, Any]) -> str:
    """When the scale reaches its minimum, where DeepSpeed stops with an exception."""
    if len(scales) < 2 or scales[-1] <= 0 or scales[-1] >= scales[0]:
        return ""
    fp16 = (trial.effective_config or {}).get("fp16") or {}
    minimum = fp16.get("min_loss_scale", 1)
    if not isinstance(minimum, int | float) or minimum <= 0:
        return ""
    halvings = math.log2(scales[0] / scales[-1])
    to_go = math.log2(scales[-1] / minimum)
    numbers["min_loss_scale"] = minimum
    if to_go <= 0:
        return f" The scale is at its minimum of {number(minimum)}, where DeepSpeed stops with an exception."
    more = math.ceil(to_go * (len(scales) - 1) / halvings)
    numbers["steps_to_minimum"] = more
    return (
        f" At this pace it reaches its minimum of {number(minimum)} after {counted(more, 'more step')}, "
        "where DeepSpeed stops "
        "with an exception."
    )


def _fixes(evidence: Evidence, *, static: bool, search: bool, finite: bool) -> list[Fix]:
    fixes: list[Fix] = []
    if static and finite and is_literal(evidence, "/deepspeed/fp16/loss_scale"):
        fixes.append(
            Fix(
                description="Let DeepSpeed find the loss scale (0 means dynamic).",
                patch=[set_value(evidence, "/deepspeed/fp16/loss_scale", 0)],
            )
        )
    if search:
        fixes.append(_lower_power(evidence))
    if bf16 := bf16_instead(evidence):
        fixes.append(bf16)
    return fixes


def _lower_power(evidence: Evidence) -> Fix:
    return Fix(
        description=f"Begin the search for the loss scale at 2^{_USUAL_POWER}.",
        patch=[set_value(evidence, "/deepspeed/fp16/initial_scale_power", _USUAL_POWER)],
    )


def _search_finding(evidence: Evidence, trial: Trial, steps: list[Step], search: int) -> Finding:
    scales = [step.loss_scale for step in steps if step.loss_scale is not None]
    high = bool(scales) and scales[0] > 2**_USUAL_POWER
    return Finding(
        message=f"The first {search} steps were skipped while the fp16 loss scale was found, then steps "
        "were applied. This is "
        "normal and costs these steps only: lowered to info.",
        severity=Severity.INFO,
        location=Location(config_path="/deepspeed/fp16/initial_scale_power", trial=trial.name),
        evidence={"num_skipped": search, "loss_scales": scales[:40]},
        fix=_lower_power(evidence) if high else None,
    )


def _log_says_skipped(trial: Trial, steps: list[Step]) -> bool:
    """In a log: a loss, a norm stuck at its initial 0 (or not finite, or not printed), a learning rate stuck at 0."""
    if trial.from_log:
        return never_moves(trial) and all(_is_initial(step.logged_grad_norm) for step in steps)
    return len(steps) >= 3 and all(
        (step.logged_loss or step.loss)
        and (step.logged_grad_norm if step.logged_grad_norm is not None else step.grad_norm) == 0
        and step.learning_rate == 0
        for step in steps
    )


def _is_initial(size: float | None) -> bool:
    return size is None or size == 0 or not math.isfinite(size)


def _log_finding(trial: Trial, steps: list[Step]) -> Finding:
    return Finding(
        message="The log has learning rate 0 and gradient norm "
        f"{number(steps[-1].logged_grad_norm)} at all {len(steps)} entries: "
        "the signature of steps that are all skipped on overflow.",
        location=Location(step=steps[0].step, trial=trial.name),
        evidence={"num_steps": len(steps)},
        fix=Fix(description="Train in bf16 instead of fp16."),
    )

"""R107 parameters-unchanged."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.dsconfig.versions import parse
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity, Step, Trial
from hotfire.rules.remedy import set_value
from hotfire.rules.run.judged import applied, is_finite, judged_steps, norm, step_list
from hotfire.rules.wording import number

_UNSCALED_SINCE = "0.18.3"


class ParametersUnchanged(Rule):
    """There is a gradient and a learning rate, and the parameters do not move.

    Why:
        The optimizer holds other tensors than the model, or gets gradients that are next to nothing. Loss
        and gradient norm look normal; nothing is learnt.

    Example:
        fp16 at ZeRO stage 0 with DeepSpeed 0.19.8: the loss is never scaled and the gradient is divided by
        the loss scale; SGD stands still while the norm prints 0.906.

    Fix:
        ZeRO stage 1 or a loss scale of 1 for that case; else build the optimizer from the parameters that
        the engine trains.

    Source:
        Measured (fp16 at stage 0); huggingface/accelerate issue 2665 as told by TrainCheck.
    """

    id = "R107"
    name = "parameters-unchanged"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Applied steps with a finite gradient above 0 and a learning rate above 0."""
        trial, steps = judged_steps(evidence)
        counting = [step for step in applied(steps) if is_finite(norm(step)) and norm(step) != 0]
        unscaled = [step for step in counting if _norm_is_scaled(step)] if _scale_is_left_out(trial) else []
        if unscaled and len(unscaled) == len(counting):
            yield _unscaled_finding(evidence, trial, unscaled)
            return
        moving = [
            step for step in counting if (step.learning_rate or 0) > 0 and step.update_ratio is not None
        ]
        if not moving:
            raise Skip("no applied step with a gradient and a learning rate above 0 has its update measured")
        still = [step for step in moving if step.update_ratio == 0]
        if len(still) < len(moving):
            return
        first = still[0]
        yield Finding(
            message=f"No parameter moves although there is a gradient: norm {number(norm(first))}, "
            "learning rate "
            f"{number(first.learning_rate)}, update 0 at {len(still)} of {len(moving)} measured steps.",
            location=Location(step=first.step, trial=trial.name),
            evidence={
                "steps": step_list(still),
                "grad_norm": norm(first),
                "learning_rate": first.learning_rate,
                "optimizer": trial.facts.get("optimizer"),
            },
            fix=Fix(
                description="Build the optimizer from the parameters of the model that the engine trains."
            ),
        )


def _scale_is_left_out(trial: Trial) -> bool:
    """Up to 0.18.2 the loss is scaled, and the engine prints the norm before the division: that is no fault."""
    return parse(trial.versions.get("deepspeed")) >= parse(_UNSCALED_SINCE)


def _norm_is_scaled(step: Step) -> bool:
    """The engine's norm is the loss scale times the gradient that the optimizer really gets."""
    scale, own, engine = step.loss_scale, step.grad_norm_measured, step.grad_norm
    if scale is None or scale <= 2 or not own or not is_finite(own) or not is_finite(engine):
        return False
    assert engine is not None
    return abs(own * scale / engine - 1) < 0.02 if engine else False


def _unscaled_finding(evidence: Evidence, trial: Trial, steps: list[Step]) -> Finding:
    first = steps[0]
    stage = "at ZeRO stage 0 " if trial.stage == 0 else ""
    return Finding(
        message=f"The optimizer gets gradients divided by the loss scale {number(first.loss_scale)} "
        f"{stage}although the loss was "
        "never multiplied by it, so the parameters hardly move. The engine's norm is "
        f"{number(first.grad_norm)}, the "
        f"gradient that arrives has {number(first.grad_norm_measured)}.",
        location=Location(
            config_path="/deepspeed/zero_optimization/stage", step=first.step, trial=trial.name
        ),
        evidence={
            "loss_scale": first.loss_scale,
            "grad_norm": first.grad_norm,
            "grad_norm_measured": first.grad_norm_measured,
            "update_ratio": first.update_ratio,
            "steps": step_list(steps),
        },
        fix=Fix(
            description="Use ZeRO stage 1, where the loss is scaled.",
            patch=[set_value(evidence, "/deepspeed/zero_optimization/stage", 1)],
        ),
        alternatives=[
            Fix(
                description="Use a static loss scale of 1.",
                patch=[set_value(evidence, "/deepspeed/fp16/loss_scale", 1)],
            )
        ],
    )

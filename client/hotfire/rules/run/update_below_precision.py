"""R108 update-below-precision."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity, Step, Trial
from hotfire.rules.remedy import given, remove, set_value
from hotfire.rules.run.judged import applied, is_finite, judged_steps, norm
from hotfire.rules.wording import listed, number, percent

_SIXTEEN_BIT = frozenset({"bfloat16", "float16"})
#: Measured with 16-bit weights (random tiny llama): 5 % at 1e-3, 40 % at 1e-4, 92 % at 1e-5; fp32: below 0.1 %.
_WARNING_SHARE = 0.1
_ERROR_SHARE = 0.75
_FP32_SHARE = 0.9
_WHOLE_GROUP = 0.99
#: A rate this far below the peak tells of the warm-up, not of the job.
_NEAR_PEAK = 0.5
_MASTER_KEYS = (
    ("/deepspeed/bf16/bf16_optimizer_states", "/deepspeed/bf16/bf16_master_weights_and_grads"),
    ("/deepspeed/fp16/fp16_master_weights_and_grads",),
)


class UpdateBelowPrecision(Rule):
    """The updates are too small for the type of the weights: they round to nothing.

    Why:
        A bf16 number has 8 bits: a change of less than 1/256 of its size is lost, and AdamW changes a weight
        by about the learning rate. Without an fp32 copy of the weights most elements then never move, above
        all those near 1 (norms). Loss and gradient norm look normal; the job learns little. A 16-bit *model*
        beside an fp32 master copy is healthy and is not reported.

    Example:
        A bf16 model under a config without `bf16`, stage 0, learning rate 1e-5: 92 % of the elements with a
        gradient do not change, norm weights never.

    Fix:
        An fp32 master copy (`bf16.enabled` at ZeRO 1 to 3, without `bf16_master_weights_and_grads`), or a
        model loaded in fp32; else a higher learning rate.

    Source:
        Measured; vllm-project/speculators pull request 765; TRL commit 226ef5719 (issue 4904).
    """

    id = "R108"
    name = "update-below-precision"
    severity = Severity.WARNING
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Looks at the measured step with the highest learning rate."""
        trial, steps = judged_steps(evidence)
        measured = [
            step
            for step in applied(steps)
            if step.rounded_away_share is not None
            and (step.learning_rate or 0) > 0
            and is_finite(norm(step))
            and norm(step) != 0
        ]
        if not measured:
            raise Skip(
                "no applied step with a gradient and a learning rate above 0 has its update measured element "
                "by element"
            )
        step = max(measured, key=lambda s: (s.learning_rate or 0.0, s.step))
        share = step.rounded_away_share or 0.0
        dtypes = [str(name) for name in trial.facts.get("master_dtypes") or []]
        low = [name for name in dtypes if name in _SIXTEEN_BIT]
        if step.update_ratio == 0 or (not low and share < _FP32_SHARE):
            return  # nothing moves at all: parameters-unchanged says so
        frozen = [g.name for g in trial.groups if (g.rounded_away_share or 0.0) >= _WHOLE_GROUP]
        if low and share < _WARNING_SHARE and not frozen:
            return
        severity, remark = _severity(trial, step, share if low else 0.0)
        fixes = _fixes(evidence, trial, low)
        groups = f" Of {listed(frozen)} nothing moves at all." if frozen and share < _WHOLE_GROUP else ""
        yield Finding(
            message=f"{percent(share, 1)} of the weights' elements that have a gradient do not change at step "
            f"{step.step} (learning rate {number(step.learning_rate)}): the update rounds to nothing in "
            f"{listed(low or dtypes) or 'the type of the weights'}"
            f"{', in which the optimizer holds them' if low else ''}.{groups}{remark}",
            severity=severity,
            location=Location(step=step.step, trial=trial.name, config_path=_place(fixes)),
            evidence={
                "rounded_away_share": share,
                "learning_rate": step.learning_rate,
                "update_ratio": step.update_ratio,
                "master_dtypes": dtypes,
                "groups": {
                    g.name: g.rounded_away_share for g in trial.groups if g.rounded_away_share is not None
                },
            },
            fix=fixes[0],
            alternatives=fixes[1:],
        )


def _severity(trial: Trial, step: Step, share: float) -> tuple[Severity, str]:
    """ERROR where most of the training is lost at a rate near the job's highest one."""
    if share < _ERROR_SHARE:
        return Severity.WARNING, ""
    peak = trial.facts.get("peak_learning_rate") or 0.0
    if (step.learning_rate or 0.0) < _NEAR_PEAK * peak:
        return Severity.WARNING, " Only a warning: this was measured inside the warm-up."
    return Severity.ERROR, ""


def _fixes(evidence: Evidence, trial: Trial, low: list[str]) -> list[Fix]:
    higher = Fix(description="Raise the learning rate, if the model stands it.")
    if not low:
        return [higher]
    for keys in _MASTER_KEYS:
        on = [key for key in keys if given(evidence, key) is True]
        if on:
            names = " and ".join(key.rsplit("/", 1)[1] for key in on)
            return [
                Fix(
                    description=f"Keep the master weights in fp32: leave out {names}.",
                    patch=[remove(key) for key in on],
                ),
                higher,
            ]
    if trial.dtype == "fp32":
        patch = [set_value(evidence, "/deepspeed/bf16", _enabled(evidence))]
        if given(evidence, "/training/bf16") is not True:
            patch.append(set_value(evidence, "/training/bf16", True))
        if not trial.stage:
            patch.append(set_value(evidence, "/deepspeed/zero_optimization", _stage_one(evidence)))
        return [
            Fix(
                description="Say that the job trains in bf16 (ZeRO stage 1 or higher): DeepSpeed then keeps an "
                "fp32 copy of the weights.",
                patch=patch,
            ),
            Fix(description="Load the model in fp32 (dtype=torch.float32)."),
            higher,
        ]
    return [Fix(description="Keep an fp32 copy of the weights (ZeRO stage 1 or higher)."), higher]


def _enabled(evidence: Evidence) -> dict[str, Any]:
    section = given(evidence, "/deepspeed/bf16")
    return {**(section if isinstance(section, dict) else {}), "enabled": True}


def _stage_one(evidence: Evidence) -> dict[str, Any]:
    section = given(evidence, "/deepspeed/zero_optimization")
    return {**(section if isinstance(section, dict) else {}), "stage": 1}


def _place(fixes: list[Fix]) -> str | None:
    return fixes[0].patch[0].path if fixes[0].patch else None

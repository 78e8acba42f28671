"""R114 learning-rate-off-plan."""

from __future__ import annotations

import math
from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity, Step, Trial
from hotfire.rules.run.judged import applied, judged_steps, scheduled, step_list
from hotfire.rules.run.plan import planned_rates
from hotfire.rules.wording import number

_TOLERANCE = 0.01
#: Off by this factor at every step: it is another curve, not another rounding.
_ANOTHER_CURVE = 2.0


class LearningRateOffPlan(Rule):
    """The learning rate that ran is not the one that was asked for, or is always 0.

    Why:
        A `scheduler` section in the DeepSpeed config wins over the arguments in silence; skipped steps do
        not advance the schedule; some versions give every parameter group the first one's rate.

    Example:
        `learning_rate: 2e-4` with a scheduler whose `warmup_max_lr` is 0: every step runs at 0.

    Fix:
        One owner of the schedule: drop the `scheduler` section, or write the rate there.

    Source:
        hiyouga/LlamaFactory issue 1220; DeepSpeed commits 6c58fb75f, 3fd762cf0; ms-swift commit c81183283.
    """

    id = "R114"
    name = "learning-rate-off-plan"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Compares applied, scheduled steps with the curve at the number of applied steps so far."""
        trial, steps = judged_steps(evidence)
        measured = [step for step in applied(steps) if step.learning_rate is not None]
        if not measured:
            raise Skip("no applied step has its learning rate measured")
        broken = [step for step in measured if not math.isfinite(step.learning_rate or 0.0)]
        if broken:
            yield _finding(
                trial,
                broken,
                f"The learning rate is {number(broken[0].learning_rate)} at step {broken[0].step}.",
            )
            return
        if _is_always_zero(steps, measured):
            yield _finding(
                trial,
                measured,
                f"The learning rate is 0 at all {len(measured)} applied steps, at the schedule's peak too: "
                "nothing can be learnt.",
            )
            return
        if trial.from_log and evidence.training is None:
            raise Skip("no training arguments were given, so that the curve that was asked for is not known")
        if trial.from_log and not trial.facts.get("entries_are_steps"):
            raise Skip(
                "the log does not have every step, so that its lines cannot be compared with the curve"
            )
        plans = planned_rates(evidence, trial)
        compared: list[tuple[Step, float]] = []
        off: list[tuple[Step, float]] = []
        for step, rates in zip(steps, plans, strict=True):
            if rates is None or step.applied is False or step.learning_rate is None:
                continue
            compared.append((step, rates[0]))
            if not _is_on_plan(step.learning_rate, rates):
                off.append((step, rates[0]))
        if not off:
            return
        step, planned = off[0]
        far = len(off) == len(compared) and all(
            _is_far(entry[0].learning_rate or 0.0, entry[1]) for entry in off
        )
        lowered = (
            "" if far else " Lowered to a warning: the curve is near the plan, or meets it at other steps."
        )
        yield _finding(
            trial,
            [entry[0] for entry in off],
            f"The learning rate is {number(step.learning_rate)} at step {step.step} where "
            f"{number(planned)} was asked for; "
            f"{len(off)} of {len(compared)} scheduled steps are off the plan.{lowered}",
            Severity.ERROR if far else Severity.WARNING,
            planned,
        )


def _is_always_zero(steps: list[Step], measured: list[Step]) -> bool:
    """Zero everywhere, with a peak step or a long log: not just the beginning of the warm-up."""
    if any(step.learning_rate for step in measured):
        return False
    return len(measured) > len(scheduled(measured)) or len(steps) >= 20


def _is_on_plan(rate: float, planned: tuple[float, ...]) -> bool:
    low, high = min(planned), max(planned)
    slack = _TOLERANCE * high + 1e-15
    return low - slack <= rate <= high + slack


def _is_far(rate: float, planned: float) -> bool:
    if rate <= 0 or planned <= 0:
        return rate != planned
    return max(rate / planned, planned / rate) >= _ANOTHER_CURVE


def _finding(
    trial: Trial,
    steps: list[Step],
    message: str,
    severity: Severity = Severity.ERROR,
    planned: float | None = None,
) -> Finding:
    has_scheduler = bool((trial.effective_config or {}).get("scheduler"))
    return Finding(
        message=message,
        severity=severity,
        location=Location(
            config_path="/deepspeed/scheduler" if has_scheduler else "/training/learning_rate",
            step=steps[0].step,
            trial=trial.name,
        ),
        evidence={
            "steps": step_list(steps),
            "learning_rates": [step.learning_rate for step in steps[:20]],
            "planned": planned,
        },
        fix=Fix(
            description="Let one place own the schedule: write the rate into the scheduler section, or "
            "drop that section."
            if has_scheduler
            else "Check learning_rate, lr_scheduler_type and the warm-up."
        ),
    )

"""R123 nondeterministic."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity, Step, Trial, TrialOutcome
from hotfire.rules.wording import number

_FIELDS = (
    ("loss", "the loss"),
    ("grad_norm_measured", "the gradient norm"),
    ("grad_norm", "the engine's gradient norm"),
    ("update_ratio", "the update"),
    ("loss_scale", "the loss scale"),
)
#: Two runs on a CPU repeat every digit; on a device sums of floats may be taken in another order each time.
_DEVICE_TOLERANCE = 0.02
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class _Difference:
    step: Step
    what: str
    first: float | bool | None
    second: float | bool | None
    gap: float | None


class Nondeterministic(Rule):
    """The same run, with the same seed, gives another curve.

    Why:
        Nothing that differs from run to run can be compared with anything: a surprising outcome may be
        chance, and a cure too. A gradient race (ZeRO 1 and 2 with `overlap_comm` on some DeepSpeed versions)
        shows itself in exactly this way.

    Example:
        Repeated unchanged, the loss at step 3 is 5.91 and then 0.0.

    Fix:
        `overlap_comm: false`, or a DeepSpeed version without the race; else look for what is not seeded
        (data order, dropout) and for `torch.use_deterministic_algorithms`.

    Source:
        deepspeedai/DeepSpeed issue 5523 (two identical runs differ). On CPU every digit repeats: measured at
        all stages, precisions and both loops.
    """

    id = "R123"
    name = "nondeterministic"
    severity = Severity.WARNING
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Looks at every trial that repeats another one."""
        # The outcome of a trial is what all run rules say of it: this one is among them.
        from hotfire.rules.run.outcome import judge_trial

        trials = evidence.trials or []
        by_name = {trial.name: trial for trial in trials}
        pairs = [(by_name[again.repeats], again) for again in trials if again.repeats in by_name]
        compared = [(first, again) for first, again in pairs if first.steps or again.steps]
        if not compared:
            raise Skip("no trial was run a second time unchanged")
        for first, again in compared:
            outcomes = [judge_trial(trial, evidence).outcome for trial in (first, again)]
            difference = _first_difference(first, again, _tolerance(evidence, first))
            if difference is None and outcomes[0] is outcomes[1]:
                continue
            yield _finding(first, again, outcomes, difference)


def _tolerance(evidence: Evidence, trial: Trial) -> float:
    device = trial.facts.get("device") or (evidence.environment.device if evidence.environment else None)
    return _SAME if device == "cpu" else _DEVICE_TOLERANCE


def _first_difference(first: Trial, again: Trial, tolerance: float) -> _Difference | None:
    """The first step that both took and that differs."""
    for a, b in zip(first.steps, again.steps, strict=False):
        if a.applied is not b.applied and None not in (a.applied, b.applied):
            return _Difference(a, "whether it was applied", a.applied, b.applied, None)
        for name, words in _FIELDS:
            one, two = getattr(a, name), getattr(b, name)
            if one is None or two is None:
                continue
            gap = _gap(one, two)
            if gap > tolerance:
                return _Difference(a, words, one, two, gap)
    return None


def _gap(a: float, b: float) -> float:
    """Relative; 0 for two that are not finite in the same way, infinite where only one is."""
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    if not math.isfinite(a) or not math.isfinite(b):
        return math.inf
    return abs(a - b) / max(abs(a), abs(b))


def _finding(
    first: Trial, again: Trial, outcomes: list[TrialOutcome], difference: _Difference | None
) -> Finding:
    parts = []
    if outcomes[0] is not outcomes[1]:
        parts.append(
            f"Run twice unchanged, {first.name} ended as {outcomes[0]} and then ({again.name}) as {outcomes[1]}"
        )
    if difference is not None:
        start = "the first difference is at" if parts else f"Run twice unchanged, {first.name} differs from"
        parts.append(
            f"{start} step {difference.step.step}: {difference.what} is {_word(difference.first)} and then "
            f"{_word(difference.second)}{_digits(difference.gap)}"
        )
    return Finding(
        message="; ".join(parts) + ".",
        location=Location(step=difference.step.step if difference else None, trial=again.name),
        evidence={
            "repeats": first.name,
            "outcomes": [str(outcome) for outcome in outcomes],
            "what": difference.what if difference else None,
            "values": [difference.first, difference.second] if difference else [],
            "relative_gap": difference.gap if difference and difference.gap is not None else None,
        },
        fix=Fix(
            description="Run with overlap_comm false, and seed everything (data order, dropout); what differs "
            "by chance proves nothing."
        ),
    )


def _digits(gap: float | None) -> str:
    """How many digits agree, in words."""
    if gap is None or not math.isfinite(gap) or gap <= 0:
        return ""
    return f" (equal to {max(0, math.floor(-math.log10(gap)))} digits)"


def _word(value: float | bool | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not measured"
    return f"{value:.10g}" if math.isfinite(value) else number(value)

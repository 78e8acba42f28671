"""R112 loss-diverging."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Phase, Severity, Step, Trial
from hotfire.rules.remedy import learning_rate
from hotfire.rules.run.judged import is_finite, judged_steps, scheduled
from hotfire.rules.run.rates import highest_rate, lower_rate
from hotfire.rules.wording import number

#: A loss "blows up" when it stays above both: a jump from one batch to the next does not.
_FACTOR = 1.5
_NATS = 1.0
#: A uniform guess costs ln(vocabulary); to stay above this multiple of it is worse than guessing.
_WORSE_THAN_GUESSING = 1.2


class LossDiverging(Rule):
    """The loss grows far beyond the noise between batches.

    Why:
        The usual cause is a learning rate that is too high. Inside the warm-up, learning rates of 0, 1e-4
        and 10 draw the same curve, so a trial also takes steps at the schedule's peak, and they are judged
        here too.

    Example:
        Loss 4.85 at the end of the scheduled steps, 23.8, 27.6, 26.0 at the peak learning rate of 1.0.

    Fix:
        A lower learning rate: a tenth, or what is usual for adapters (2e-4) or the whole model (2e-5) if
        that is lower.

    Source:
        Measured: a good and a bad peak differ by the second step; hiyouga/LlamaFactory issue 4597.
    """

    id = "R112"
    name = "loss-diverging"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Judges the scheduled steps and the steps at the peak; a small rise is no divergence."""
        trial, steps = judged_steps(evidence)
        curve = [(step, _loss(step)) for step in steps]
        usual = [loss for step, loss in curve if step.phase is not Phase.PEAK and is_finite(loss)]
        peak = [loss for step, loss in curve if step.phase is Phase.PEAK and is_finite(loss)]
        if len(usual) + len(peak) < 4:
            raise Skip("too few steps with a finite loss to tell a trend from noise")
        vocabulary = (evidence.model.vocab_size if evidence.model else None) or trial.facts.get("vocab_size")
        guess = math.log(vocabulary) if vocabulary else None
        early, late = _split([loss for loss in usual if loss is not None])
        if _blown_up(early, late, guess):
            first = next(s for s in scheduled(steps) if is_finite(_loss(s)) and (_loss(s) or 0) >= min(late))
            yield _finding(evidence, trial, early, late, first, "")
            return
        before = [loss for loss in usual[-3:] if loss is not None]
        after = [loss for loss in peak if loss is not None]
        if before and len(after) >= 2 and _blown_up(before, after, guess):
            first = next(step for step in steps if step.phase is Phase.PEAK)
            yield _finding(evidence, trial, before, after, first, " at the peak of the schedule")


def _loss(step: Step) -> float | None:
    return step.loss if step.loss is not None else step.logged_loss


def _split(losses: list[float]) -> tuple[list[float], list[float]]:
    """The level that was reached, and the last losses. A long curve may have fallen before it grows."""
    width = max(2, len(losses) // 5) if len(losses) >= 4 else 0
    if not width:
        return [], []
    early, late = losses[:-width], losses[-width:]
    window = max(3, len(losses) // 5)
    if len(early) > 2 * window:
        tops = _highest_of_windows(early, window)
        start = tops.index(min(tops))
        early = early[start : start + window]
    return early, late


def _highest_of_windows(values: list[float], window: int) -> list[float]:
    """The highest of every `window` values in a row, in one pass: a log may have a hundred thousand lines."""
    tops: list[float] = []
    falling: deque[int] = deque()
    for index, value in enumerate(values):
        while falling and values[falling[-1]] <= value:
            falling.pop()
        falling.append(index)
        if falling[0] <= index - window:
            falling.popleft()
        if index >= window - 1:
            tops.append(values[falling[0]])
    return tops


def _blown_up(before: list[float], after: list[float], guess: float | None) -> bool:
    """The last losses all stay above everything before, by a factor or above what guessing costs."""
    if not before or not after:
        return False
    level, tail = max(before), min(after[-2:])
    if tail <= level + _NATS:
        return False
    return tail > _FACTOR * level or (guess is not None and tail > _WORSE_THAN_GUESSING * guess)


def _finding(
    evidence: Evidence, trial: Trial, before: list[float], after: list[float], first: Step, where: str
) -> Finding:
    rate = highest_rate(trial)
    lower: Fix = learning_rate(evidence, lower_rate(trial, evidence))
    return Finding(
        message=f"The loss diverges{where}: from {number(max(before))} to {number(after[-1])} at a "
        f"learning rate of {number(rate)}. "
        f"It was {', '.join(number(loss) for loss in before[-3:])} and became "
        f"{', '.join(number(loss) for loss in after[-4:])}.",
        location=Location(config_path="/training/learning_rate", step=first.step, trial=trial.name),
        evidence={
            "losses_before": before[-20:],
            "losses_after": after[-20:],
            "learning_rate": rate,
            "proposed_learning_rate": lower.patch[0].value,
        },
        fix=lower,
        alternatives=[Fix(description="Lengthen the warm-up, if only the jump to the peak is too steep.")]
        if where
        else [],
    )

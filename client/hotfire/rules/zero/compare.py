"""Does a trial go the same way as the reference?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hotfire.rules.evidence import Phase, Step, Trial
from hotfire.rules.run.judged import applied, micro_batches
from hotfire.rules.wording import number, percent

#: Healthy gaps at step 1 are below 1e-5 in fp32, 4e-4 in bf16, 6e-5 in fp16.
STEP_ONE_GAP = 0.01
#: Later, rounding grows with every update.
_LATER_GAP = 0.03
#: One update later the weights are equal to rounding, and so are the gradients: gradients that are never zeroed, or
#: that lose what an earlier step left, show here. Healthy: 0.1 % in bf16, 2.4 % with a phantom first step.
_STEP_TWO_NORM_GAP = 0.10
#: Where the schedule's own steps do not move (warm-up at rate 0), the peak is compared: it is rougher.
_PEAK_GAP = 0.10
#: Adam's first update has the size lr whatever the gradient: only gross differences speak.
_UPDATE_FACTOR = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How near a trial is to the reference."""

    agrees: bool | None
    """None: nothing could be compared."""
    loss_gap: float | None = None
    """Relative gap of the loss at the first step."""
    grad_norm_gap: float | None = None
    """Relative gap of the gradient norm at the first step where both have one, from the same weights."""
    reason: str = ""


def compare(trial: Trial, reference: Trial) -> Agreement:
    """Compares step by step, as long as both have the same weights and take the same rows."""
    pairs = _same_state(trial.steps, reference.steps)
    if not pairs:
        return Agreement(agrees=None, reason="they have no step in common")
    loss_gap = _gap(pairs[0][0].loss, pairs[0][1].loss)
    norm_gap = next(
        (gap for a, b in pairs if (gap := _gap(*_norms(a, b))) is not None),
        None,
    )
    if loss_gap is None and norm_gap is None:
        return Agreement(agrees=None, reason="neither loss nor gradient norm is finite in both")
    reason = _disagreement(pairs, loss_gap, norm_gap)
    if reason is None and norm_gap is None:
        return Agreement(
            agrees=True,
            loss_gap=loss_gap,
            reason="the losses agree; gradient norms could not be compared",
        )
    return Agreement(
        agrees=reason is None,
        loss_gap=loss_gap,
        grad_norm_gap=norm_gap,
        reason=reason or "loss and gradient norm agree",
    )


def _disagreement(
    pairs: list[tuple[Step, Step]], loss_gap: float | None, norm_gap: float | None
) -> str | None:
    """The first disagreement, in words; None where they agree."""
    first = pairs[0][0].step
    if loss_gap is not None and loss_gap > STEP_ONE_GAP:
        return f"the loss differs by {percent(loss_gap, 1)} at step {first}"
    if norm_gap is not None and norm_gap > STEP_ONE_GAP:
        a, b = next((a, b) for a, b in pairs if _gap(*_norms(a, b)) is not None)
        return f"the gradient norm differs by {percent(norm_gap, 1)} at step {a.step} ({_norm_words(a, b)})"
    second = [(a, b) for a, b in pairs if a.phase is not Phase.PEAK][1:2]
    for a, b in second:
        if (gap := _gap(*_norms(a, b))) is not None and gap > _STEP_TWO_NORM_GAP:
            return (
                f"the gradient norm differs by {percent(gap, 1)} at step {a.step} ({_norm_words(a, b)}), "
                "from weights that agree"
            )
    for a, b in pairs:
        if _updates_differ(a, b):
            return (
                f"the update differs at step {a.step} (relative size {number(a.update_ratio)} against "
                f"{number(b.update_ratio)})"
            )
    usual = [(a, b) for a, b in pairs if a.phase is not Phase.PEAK]
    moving = any((a.learning_rate or 0) > 0 for a, _ in usual)
    watched, limit = (usual, _LATER_GAP) if moving else (pairs, _PEAK_GAP)
    gaps = [(gap, a) for a, b in watched[1:] if (gap := _gap(a.loss, b.loss)) is not None]
    if gaps and gaps[-1][0] > limit and gaps[-1][0] > 2 * (loss_gap or 0.0):
        gap, step = gaps[-1]
        return f"the losses drift apart: {percent(gap, 1)} at step {step.step}"
    return None


def _same_state(ours: list[Step], theirs: list[Step]) -> list[tuple[Step, Step]]:
    """Pairs of steps that begin with the same weights and take the same rows.

    The first attempts do. After that the k-th applied steps do, whatever was skipped in between, as long as
    they and all before them took the same rows in the same phase.
    """
    pairs = [(a, b) for a, b in zip(ours[:1], theirs[:1], strict=False) if a.phase is b.phase]
    for a, b in zip(applied(ours), applied(theirs), strict=False):
        if a.phase is not b.phase or not _same_rows(a, b):
            break
        if (a, b) not in pairs:
            pairs.append((a, b))
    return pairs


def _same_rows(a: Step, b: Step) -> bool:
    """Both took the same rows on every rank; where rows are not known: both are the same attempt."""
    rows_a, rows_b = ([(rank, batch.rows) for rank, _, batch in micro_batches(step)] for step in (a, b))
    known = any(rows for _, rows in rows_a) and any(rows for _, rows in rows_b)
    return rows_a == rows_b if known else a.step == b.step


def _norms(a: Step, b: Step) -> tuple[float | None, float | None]:
    """Two norms of one kind: ours, measured before clipping; the engine's only where neither has ours.

    What an engine reports beside a norm that we cannot measure may carry a loss scale (torch_autocast in fp16).
    """
    if a.grad_norm_measured is None and b.grad_norm_measured is None:
        return a.grad_norm, b.grad_norm
    return a.grad_norm_measured, b.grad_norm_measured


def _norm_words(a: Step, b: Step) -> str:
    return " against ".join(number(norm) for norm in _norms(a, b))


def _gap(a: float | None, b: float | None) -> float | None:
    """|a - b| / |b|; None where either is not finite or not measured."""
    if a is None or b is None or not math.isfinite(a) or not math.isfinite(b):
        return None
    if a == b:
        return 0.0
    return abs(a - b) / abs(b) if b else math.inf


def _updates_differ(a: Step, b: Step) -> bool:
    if a.update_ratio is None or b.update_ratio is None or a.applied is False or b.applied is False:
        return False
    rates = _gap(a.learning_rate, b.learning_rate)
    if rates is None or rates > STEP_ONE_GAP or not a.learning_rate:
        return False
    low, high = sorted((a.update_ratio, b.update_ratio))
    return high > 0 and (low == 0 or high / low > _UPDATE_FACTOR)

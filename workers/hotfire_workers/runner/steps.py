"""One `Step` out of what every rank saw of it."""

from __future__ import annotations

import math
from typing import Any

from hotfire.rules.evidence import MicroBatch, Phase, RankStep, Step

_GLOBAL = (
    "applied", "grad_norm", "grad_norm_measured", "learning_rate", "loss_scale", "skipped_steps",
    "update_ratio", "num_silent_parameters", "num_moved", "num_decayed_only", "rounded_away_share",
    "logged_loss", "logged_grad_norm", "logged_learning_rate", "planned_learning_rate",
)  # fmt: skip
"""The same on every rank, or known to one only: the first rank that has it is believed."""
_PER_RANK = (
    "first_non_finite_parameter", "applied", "grad_norm", "learning_rate", "loss_scale", "local_grad_norm",
    "gradient_used",
)  # fmt: skip
"""What each rank says for itself: its own share, or a number that a healthy rank shares with all others."""


def merge(number: int, lines: dict[int, dict[str, Any]], num_ranks: int) -> Step:
    """Merge the ranks' lines of one step.

    The loss is the mean over all ranks, and non-finite if any rank's was. If a rank did not get to write its
    line, the mean and the token sum are not known (None), unless a rank that did was non-finite already.

    Args:
        number: The step, from 1.
        lines: Rank -> its `step` line.
        num_ranks: How many lines there should be.
    """
    in_order = [lines[rank] for rank in sorted(lines)]
    complete = len(lines) == num_ranks
    merged: dict[str, Any] = {name: _first(in_order, name) for name in _GLOBAL}
    times = [line["step_seconds"] for line in in_order if line.get("step_seconds") is not None]
    return Step(
        step=number,
        phase=Phase(_first(in_order, "phase") or Phase.SCHEDULED),
        loss=_mean_loss([line.get("loss") for line in in_order], complete=complete),
        num_supervised_tokens=_sum(
            [line.get("num_supervised_tokens") for line in in_order], complete=complete
        ),
        step_seconds=max(times, default=None),
        ranks=[_rank_step(rank, lines[rank]) for rank in sorted(lines)],
        **merged,
    )


def _first(lines: list[dict[str, Any]], name: str) -> Any:
    return next((line[name] for line in lines if line.get(name) is not None), None)


def _mean_loss(losses: list[float | None], *, complete: bool) -> float | None:
    known = [loss for loss in losses if loss is not None]
    strange = [loss for loss in known if not math.isfinite(loss)]
    if strange:
        return math.nan if any(math.isnan(loss) for loss in strange) else sum(strange)
    if not complete or len(known) < len(losses) or not known:
        return None
    return sum(known) / len(known)


def _sum(counts: list[int | None], *, complete: bool) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if complete and known and len(known) == len(counts) else None


def _rank_step(rank: int, line: dict[str, Any]) -> RankStep:
    batches = [
        MicroBatch(
            loss=batch.get("loss"),
            num_supervised_tokens=batch.get("num_supervised_tokens"),
            rows=list(batch.get("rows") or []),
            num_tokens=batch.get("num_tokens"),
        )
        for batch in line.get("micro_batches") or []
    ]
    return RankStep(rank=rank, micro_batches=batches, **{name: line.get(name) for name in _PER_RANK})

"""R117 ranks-diverge."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity, Step, Trial
from hotfire.rules.run.judged import applied, is_finite, judged_steps
from hotfire.rules.wording import counted, listed, number

#: What every rank says of the whole step. Rounding cannot part them: all ranks read one reduction's result.
_SHARED = (
    ("applied", "whether the step was applied"),
    ("grad_norm", "the gradient norm"),
    ("loss_scale", "the loss scale"),
    ("learning_rate", "the learning rate"),
)
_TOLERANCE = 1e-4
#: Of the share of its gradient that a rank's optimizer used: healthy ranks agree to 1e-6 (bf16 moments: 1e-3).
_USED_TOLERANCE = 0.02


@dataclass(slots=True)
class _Sign:
    """One thing that differs between the ranks."""

    sentence: str
    evidence: dict[str, Any]
    location: Location = field(default_factory=Location)


class RanksDiverge(Rule):
    """What must be the same on every rank is not: the replicas drift apart.

    Why:
        In data-parallel training every rank ends a step with the same weights. A reduction that is skipped, a
        clip on one rank only, a buffer that is read too early: from then on each rank trains a model of its
        own, the loss still falls, and only rank 0's is saved. Under ZeRO 1 to 3 a rank updates a shard alone
        and hands it to the others, so that the weights agree all the same; there the shard's own numbers
        speak.

    Example:
        BLOOM-176B: the optimizer clipped on one rank only, layer norms differed, 15 days to find. Here:
        `model.layers.1.mlp.up_proj.weight` differs on rank 1 after step 1.

    Fix:
        Run with `overlap_comm: false`; test the links (an all-reduce of known values, NCCL_P2P_DISABLE=1);
        build the model before it is wrapped, on every rank alike.

    Source:
        TrainCheck: deepspeed-1801, pytorch-84803, pytorch-104336; DeepSpeed pull request 1801. Healthy
        replicas equal to the last bit: measured at stages 0 to 3, in fp32, bf16 and fp16, with LoRA.
    """

    id = "R117"
    name = "ranks-diverge"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Weights first, then what each optimizer used of its gradient, its shard, and the shared numbers."""
        trial, steps = judged_steps(evidence)
        if trial.num_ranks == 1:
            raise Skip("the trial has one rank: there is nothing to compare it with")
        checks = _replica_checks(trial)
        if not checks and not any(_has_numbers(step) for step in steps):
            raise Skip("what the ranks hold was not compared")
        signs = [
            sign
            for sign in (_weights(checks), _clipping(steps), _stale_shard(steps), _shared_numbers(steps))
            if sign is not None
        ]
        if not signs:
            return
        first = signs[0]
        first.location.trial = trial.name
        yield Finding(
            message=" ".join(sign.sentence for sign in signs),
            location=first.location,
            evidence={name: value for sign in signs for name, value in sign.evidence.items()},
            fix=Fix(
                description="Run without overlap_comm, and test the links between the devices: an all-reduce "
                "of known values, NCCL_P2P_DISABLE=1."
            ),
        )


def _replica_checks(trial: Trial) -> list[dict[str, Any]]:
    checks = trial.facts.get("replicas")
    return [check for check in checks if check.get("num_compared")] if isinstance(checks, list) else []


def _has_numbers(step: Step) -> bool:
    return len(step.ranks) > 1 and any(
        rank.grad_norm is not None or rank.local_grad_norm is not None for rank in step.ranks
    )


def _weights(checks: list[dict[str, Any]]) -> _Sign | None:
    bad = next((check for check in checks if check.get("num_differing")), None)
    if bad is None:
        return None
    names = [entry["parameter"] for entry in bad["differing"]]
    ranks = sorted({rank for entry in bad["differing"] for rank in entry["ranks"]})
    count = bad["num_differing"]
    what = counted(count, "parameter") + (" differs" if count == 1 else " differ")
    return _Sign(
        f"{what} between the ranks after step {bad['step']}, of {bad['num_compared']} that every rank should "
        f"hold alike: first {names[0]}, on rank {listed(ranks)}.",
        {
            "step": bad["step"],
            "num_differing": count,
            "num_compared": bad["num_compared"],
            "parameters": names,
            "ranks": ranks,
        },
        Location(step=bad["step"], parameter=names[0], rank=ranks[0] if ranks else None),
    )


def _clipping(steps: list[Step]) -> _Sign | None:
    """Each rank's optimizer used another share of its gradient."""
    for step in applied(steps):
        used = {rank.rank: rank.gradient_used for rank in step.ranks if is_finite(rank.gradient_used)}
        values = [value for value in used.values() if value is not None]
        if len(values) < 2 or max(values) - min(values) <= _USED_TOLERANCE * max(values):
            continue
        odd = _odd_one(used)
        each = ", ".join(f"{number(value)} on rank {rank}" for rank, value in sorted(used.items())[:4])
        return _Sign(
            f"At step {step.step} the ranks' optimizers used different shares of their gradients ({each}): "
            "not all of them clip alike.",
            {"gradient_used": {str(rank): value for rank, value in used.items()}},
            Location(step=step.step, rank=odd),
        )
    return None


def _stale_shard(steps: list[Step]) -> _Sign | None:
    """A rank's reduced gradient repeats that of the step before to the last bit, while another's does not."""
    for before, after in pairwise(applied(steps)):
        if not before.learning_rate:
            continue  # the weights did not move: the same rows give the same gradient
        old = {rank.rank: rank.local_grad_norm for rank in before.ranks}
        same: list[int] = []
        fresh: list[int] = []
        for rank in after.ranks:
            if not is_finite(rank.local_grad_norm) or not rank.local_grad_norm:
                continue
            (same if rank.local_grad_norm == old.get(rank.rank) else fresh).append(rank.rank)
        if same and fresh:
            return _Sign(
                f"At step {after.step} the reduced gradient on rank {listed(same)} is that of step "
                f"{before.step}, bit for bit, while rank {listed(fresh)} has a new one: a stale buffer.",
                {"stale_ranks": same, "stale_step": after.step},
                Location(step=after.step, rank=same[0]),
            )
    return None


def _shared_numbers(steps: list[Step]) -> _Sign | None:
    """One rank reports another norm, loss scale, rate or decision than the others."""
    for step in steps:
        for name, words in _SHARED:
            values = {rank.rank: getattr(rank, name) for rank in step.ranks}
            known = [value for value in values.values() if value is not None]
            if len(known) < 2 or all(_equal(value, known[0]) for value in known):
                continue
            each = ", ".join(f"{_word(value)} on rank {rank}" for rank, value in sorted(values.items())[:4])
            return _Sign(
                f"At step {step.step} {words} is not the same on every rank ({each}).",
                {name: {str(rank): value for rank, value in values.items()}},
                Location(step=step.step, rank=_odd_one(values)),
            )
    return None


def _odd_one(values: dict[int, Any]) -> int | None:
    """The rank whose value is not that of the majority; of two the second, since none is the majority."""
    known = {rank: value for rank, value in values.items() if value is not None}
    if not known:
        return None
    near = {
        rank: sum(_equal(value, other, _USED_TOLERANCE) for other in known.values())
        for rank, value in known.items()
    }
    least = min(near.values())
    return max(rank for rank, count in near.items() if count == least)


def _equal(a: Any, b: Any, tolerance: float = _TOLERANCE) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return bool(a == b)
    if a == b or (math.isnan(a) and math.isnan(b)):
        return True
    if not math.isfinite(a) or not math.isfinite(b):
        return not math.isfinite(a) and not math.isfinite(b)
    return bool(abs(a - b) <= tolerance * max(abs(a), abs(b)))


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value)

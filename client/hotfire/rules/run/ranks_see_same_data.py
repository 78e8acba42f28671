"""R118 ranks-see-same-data."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity, Step, Trial
from hotfire.rules.run.judged import judged_steps, step_list
from hotfire.rules.wording import listed, percent


class RanksSeeSameData(Rule):
    """Several ranks take the same rows at the same step.

    Why:
        The gradients are averaged over copies, so that the job pays for all its GPUs and learns as from
        fewer: the global batch is smaller than configured, and rows are seen again and again. The usual
        cause is a sampler that does not know of the ranks, or a data order drawn from a seed of each rank's
        own making.

    Example:
        Rank 0 and rank 1 both take rows 1, 2, 5, 6 at step 1, and so on at every step.

    Fix:
        A distributed sampler (the HF Trainer and `accelerate.prepare` make one); for streamed data
        `split_dataset_by_node`.

    Source:
        TrainCheck, stackoverflow-67180955; PyTorch documentation of DistributedSampler.
    """

    id = "R118"
    name = "ranks-see-same-data"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Compares the rows of every pair of ranks. Equal rows with other numbers are D111's matter."""
        trial, steps = judged_steps(evidence)
        if trial.num_ranks == 1:
            raise Skip("the trial has one rank")
        known = [step for step in steps if len(_rows_by_rank(step)) > 1]
        if not known:
            raise Skip("which rows each rank took is not known")
        if _sample_is_short(evidence, trial, known):
            raise Skip(
                "the sample has fewer rows than one optimizer step takes, so that rows repeat in a step"
            )
        pairs = {step.step: _same(step) for step in known}
        bad = [step for step in known if pairs[step.step]]
        if not bad:
            return
        first = bad[0]
        a, b = pairs[first.step][0]
        rows = [row for batch in _rows_by_rank(first)[a] for row in batch]
        everywhere = len(bad) == len(known)
        lowered = "" if everywhere else " Lowered to a warning: at the other steps each rank has its own."
        taken = [row for batches in _rows_by_rank(first).values() for batch in batches for row in batch]
        yield Finding(
            message=f"Rank {a} and rank {b} take the same rows ({listed(rows, limit=4)}) at step {first.step}; "
            f"so at {len(bad)} of {len(known)} steps. Only {percent(len(set(taken)), len(taken))} of that "
            f"step's rows are different ones.{lowered}",
            severity=Severity.ERROR if everywhere else Severity.WARNING,
            location=Location(step=first.step, rank=b, row=rows[0] if rows else None, trial=trial.name),
            evidence={
                "steps": step_list(bad),
                "num_steps": len(known),
                "ranks": [list(pair) for pair in pairs[first.step][:20]],
                "rows": rows[:20],
            },
            fix=Fix(description="Give each rank its own part of the rows with a distributed sampler."),
        )


def _rows_by_rank(step: Step) -> dict[int, list[tuple[int, ...]]]:
    """Rank -> the rows of each of its micro-batches; ranks whose rows are not known are left out."""
    by_rank = {rank.rank: [tuple(batch.rows) for batch in rank.micro_batches] for rank in step.ranks}
    return {rank: batches for rank, batches in by_rank.items() if batches and all(batches)}


def _same(step: Step) -> list[tuple[int, int]]:
    """Pairs of ranks that take the same micro-batches, in whatever order."""
    by_rank = _rows_by_rank(step)
    return [(a, b) for a, b in combinations(sorted(by_rank), 2) if sorted(by_rank[a]) == sorted(by_rank[b])]


def _sample_is_short(evidence: Evidence, trial: Trial, steps: list[Step]) -> bool:
    """One global batch is larger than the sample: then our own order repeats rows within a step."""
    num_rows = trial.facts.get("num_rows")
    if num_rows is None and evidence.data is not None:
        num_rows = evidence.data.num_rows_usable or None
    taken = max(sum(len(batch) for part in _rows_by_rank(step).values() for batch in part) for step in steps)
    return num_rows is not None and int(num_rows) < taken

"""A log as the one trial that the run rules judge. What the log does not say stays None."""

from __future__ import annotations

import math
from itertools import pairwise

from hotfire.logs.records import JobLog, LogEntry
from hotfire.rules.evidence import Role, Step, Trial

NAME = "the job's log"


def as_trial(log: JobLog, *, dtype: str | None = None, stage: int | None = None) -> Trial:
    """The trial.

    Args:
        log: What was read.
        dtype: "fp32", "bf16" or "fp16", where the spec says it; an overflow of the loss scale says fp16, too.
        stage: ZeRO stage, where the spec says it.
    """
    steps = _steps(log)
    scaled = any(step.loss_scale is not None for step in steps)
    return Trial(
        name=NAME,
        role=Role.CANDIDATE,
        from_log=True,
        steps=steps,
        error=log.error,
        versions=dict(log.versions),
        stage=stage,
        dtype=dtype or ("fp16" if scaled else "unknown"),
        completed=log.finished or log.error is None,
        facts={
            "entries_are_steps": log.numbered and _every_step(log.entries),
            "finished": log.finished,
            "tells_errors": log.format == "text",
            "num_overflows": log.num_overflows,
            "is_reinforcement": any(entry.is_reinforcement for entry in log.entries),
            "rewards_are_equal": _rewards_are_equal(log.entries),
            "num_eval_non_finite": log.num_eval_non_finite,
        },
    )


def _steps(log: JobLog) -> list[Step]:
    steps: list[Step] = []
    numbered = log.numbered
    previous: LogEntry | None = None
    for ordinal, entry in enumerate(log.entries, start=1):
        steps.append(
            Step(
                step=entry.step if numbered and entry.step is not None else ordinal,
                applied=False if _was_skipped(entry, previous) else None,
                logged_loss=entry.loss,
                logged_grad_norm=entry.grad_norm,
                logged_learning_rate=entry.learning_rate,
                learning_rate=entry.learning_rate,
                loss_scale=entry.loss_scale,
            )
        )
        previous = entry
    if not steps:
        steps = _of_engine(log)
    last = steps[-1].step if steps else 0
    steps += [
        Step(step=last + index, applied=False, loss_scale=scale)
        for index, scale in enumerate(log.overflows, start=1)
    ]
    return steps


def _was_skipped(entry: LogEntry, previous: LogEntry | None) -> bool:
    """Every step since the entry before was skipped, as DeepSpeed's own messages say."""
    if not entry.num_overflows:
        return False
    if entry.step is not None:
        return entry.num_overflows >= entry.step - ((previous.step or 0) if previous is not None else 0)
    # Without numbers: a skipped step leaves the learning rate where it was.
    before = previous.learning_rate if previous is not None else 0.0
    return entry.learning_rate is not None and entry.learning_rate == before


def _of_engine(log: JobLog) -> list[Step]:
    """DeepSpeed's reports alone: it skipped as many steps as it took, or not."""
    steps: list[Step] = []
    done = skipped = 0
    for report in log.engine:
        all_skipped = report.skipped - skipped >= report.step - done > 0
        steps.append(
            Step(
                step=report.step,
                applied=False if all_skipped else None,
                skipped_steps=report.skipped,
                learning_rate=report.learning_rate,
            )
        )
        done, skipped = report.step, report.skipped
    return steps


def _every_step(entries: list[LogEntry]) -> bool:
    steps = [entry.step for entry in entries if entry.step is not None]
    return bool(steps) and steps[0] <= 1 and all(after - before == 1 for before, after in pairwise(steps))


def _rewards_are_equal(entries: list[LogEntry]) -> bool:
    spreads = [entry.reward_spread for entry in entries if entry.reward_spread is not None]
    return bool(spreads) and all(spread == 0 and math.isfinite(spread) for spread in spreads)

"""What every run rule looks at: one trial, its steps, its numbers.

A run rule judges the candidate. Given evidence that holds a single trial, whatever its role, it judges that
one: so `hotfire.rules.run.outcome` asks the same rules about every trial.
"""

from __future__ import annotations

import math

from hotfire.rules.engine import Skip
from hotfire.rules.evidence import Evidence, MicroBatch, Phase, Step, Trial, TrialOutcome

#: Largest change of a measured number that rounding explains.
ROUNDING = 1e-6
_MAX_GROUPS = 8
_SOME_STEPS = 3


def judged_trial(evidence: Evidence) -> Trial:
    """The trial that the run rules speak about.

    Raises:
        Skip: No trial of the job as given was run.
    """
    trials = evidence.trials or []
    trial = trials[0] if len(trials) == 1 else evidence.candidate
    if trial is None:
        raise Skip("the job as given was not run")
    if trial.outcome is TrialOutcome.NOT_EXERCISED:
        raise Skip(f"the job as given was not run here: {trial.reason or 'no reason was given'}")
    return trial


def is_before_the_job(trial: Trial) -> bool:
    """It died or stood still while imports and the process group were set up: nothing of the job had run."""
    phase = trial.error.phase if trial.error else None
    return not trial.steps and phase in ("start", "import", "imports", "init")


def judged_steps(evidence: Evidence) -> tuple[Trial, list[Step]]:
    """The judged trial and its steps.

    Raises:
        Skip: There is no such trial, or it never came to a step.
    """
    trial = judged_trial(evidence)
    if not trial.steps:
        raise Skip(f"the trial {trial.name!r} did not reach its first step")
    return trial, trial.steps


def applied(steps: list[Step]) -> list[Step]:
    """Steps that moved the optimizer. In a log, where nobody knows, every step counts."""
    return [step for step in steps if step.applied is not False]


def scheduled(steps: list[Step]) -> list[Step]:
    """Steps at the schedule's own learning rate."""
    return [step for step in steps if step.phase is not Phase.PEAK]


def norm(step: Step) -> float | None:
    """Gradient norm before clipping: ours where measured, else the engine's, else what the log says."""
    for value in (step.grad_norm_measured, step.grad_norm, step.logged_grad_norm):
        if value is not None:
            return value
    return None


def is_finite(value: float | None) -> bool:
    """Measured and finite."""
    return value is not None and math.isfinite(value)


def is_non_finite(value: float | None) -> bool:
    """Measured, and NaN or infinite."""
    return value is not None and not math.isfinite(value)


def non_finite_loss(step: Step) -> bool:
    """The loss of the step, or of one of its micro-batches on any rank, is NaN or infinite."""
    return (
        is_non_finite(step.loss)
        or any(is_non_finite(batch.loss) for _, _, batch in micro_batches(step))
        or (step.loss is None and is_non_finite(step.logged_loss))
    )


def non_finite_gradient(step: Step) -> bool:
    """Any of the norms of the step is NaN or infinite."""
    return any(
        is_non_finite(value) for value in (step.grad_norm_measured, step.grad_norm, step.logged_grad_norm)
    )


def micro_batches(step: Step) -> list[tuple[int, int, MicroBatch]]:
    """(rank, number from 1, micro-batch) of every rank of the step."""
    return [
        (rank.rank, index, batch)
        for rank in step.ranks
        for index, batch in enumerate(rank.micro_batches, start=1)
    ]


def without_tokens(step: Step) -> list[tuple[int, int, MicroBatch]]:
    """The micro-batches of the step in which no token has a label."""
    return [entry for entry in micro_batches(step) if entry[2].num_supervised_tokens == 0]


def supervised_tokens(step: Step) -> int | None:
    """Labels other than -100 of the whole step, over all ranks; None where it was not counted."""
    if step.num_supervised_tokens is not None:
        return step.num_supervised_tokens
    counts = [batch.num_supervised_tokens for _, _, batch in micro_batches(step)]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def first_non_finite_parameter(step: Step) -> tuple[str | None, int | None]:
    """Name of the first parameter with a non-finite gradient, and its rank."""
    for rank in step.ranks:
        if rank.first_non_finite_parameter:
            return rank.first_non_finite_parameter, rank.rank
    return None, None


def step_list(steps: list[Step]) -> list[int]:
    """Their numbers, at most 20, for a finding's evidence."""
    return [step.step for step in steps[:20]]


def plural_steps(some: list[Step], of: list[Step], noun: str = "applied step") -> str:
    """In words: "all 8 applied steps", "2 of 8 applied steps"."""
    if len(some) == len(of):
        return f"all {len(of)} {noun}s" if len(of) > 1 else f"the only {noun}"
    return f"{len(some)} of {len(of)} {noun}s"


def noun_of(trial: Trial) -> str:
    """What its steps are called: in a log they are lines, and whether a step was applied is not known."""
    return "logged step" if trial.from_log else "applied step"


def end_is_told(trial: Trial) -> None:
    """A log that holds no failure says something about failures only if it is the job's whole output.

    Raises:
        Skip: It is not.
    """
    if not trial.from_log or trial.error is not None or trial.facts.get("finished"):
        return
    if not trial.facts.get("tells_errors"):
        raise Skip("such a file holds the Trainer's numbers, not the exceptions; the job's output has them")
    raise Skip("the log breaks off: it has neither the Trainer's summary nor an exception")


def never_moves(trial: Trial) -> bool:
    """The learning rate is 0 at every line of a log that is longer than the first steps of a warm-up."""
    rates = [step.learning_rate for step in trial.steps]
    return len(rates) >= _SOME_STEPS and all(rate == 0 for rate in rates)


def sentinel_groups(size: float | None) -> int | None:
    """The k of a norm that is √k: DeepSpeed's mark, up to 0.19.6, for k parameter groups whose gradient is NaN."""
    if size is None or not math.isfinite(size):
        return None
    return next((k for k in range(1, _MAX_GROUPS + 1) if abs(size - k**0.5) <= ROUNDING), None)


def trainer_line(step: Step) -> str:
    """What the HF Trainer logged of the step, as it stands in `log_history`."""
    values = (
        ("loss", step.logged_loss),
        ("grad_norm", step.logged_grad_norm),
        ("learning_rate", step.logged_learning_rate),
    )
    return "{" + ", ".join(f"'{name}': {value}" for name, value in values if value is not None) + "}"

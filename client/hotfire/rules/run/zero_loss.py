"""R102 zero-loss."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity, Step
from hotfire.rules.run.judged import (
    applied,
    judged_steps,
    norm,
    noun_of,
    plural_steps,
    sentinel_groups,
    step_list,
    supervised_tokens,
    trainer_line,
)
from hotfire.rules.run.signature import Mechanism, because, mechanism_of_step
from hotfire.rules.wording import number


class ZeroLoss(Rule):
    """The loss is exactly 0, and no gradient comes with it.

    Why:
        A real loss is never exactly 0. Either no token has a label, or the loss does not depend on the
        model, or a log prints 0.0 for NaN. Which of them it is, the gradient norm and the learning rate
        tell.

    Example:
        `{'loss': 0.0, 'grad_norm': 0.0, 'learning_rate': 1e-4}` from the first step: no supervised token.
        The same with `grad_norm: inf` or 1.4142135: NaN gradients.

    Fix:
        By mechanism; see `no-supervised-tokens` and `non-finite-gradient`. A loss near 0 with a gradient, as
        in on-policy reinforcement learning, is healthy and is not reported.

    Source:
        zai-org/GLM-4 issue 260; transformers 5.23 trainer.py; modelscope/ms-swift issue 5890 for the healthy
        case.
    """

    id = "R102"
    name = "zero-loss"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Applied steps with a loss of exactly 0 and no finite gradient above 0."""
        trial, steps = judged_steps(evidence)
        counting = applied(steps) if any(step.loss is not None for step in steps) else steps
        bad = [step for step in counting if _loss(step) == 0 and not _has_gradient(step)]
        if not bad:
            return
        first = bad[0]
        mechanism = mechanism_of_step(trial, first) or Mechanism.NO_GRADIENT
        few = 2 * len(bad) < len(counting)
        lowered = " Lowered to a warning: the other steps train." if few else ""
        printed = "printed as " if first.loss is None else ""
        # Of a log file alone the line is all there is.
        logged = (
            f" The Trainer logs {trainer_line(first)}." if None not in (first.loss, first.logged_loss) else ""
        )
        yield Finding(
            message=f"The loss is {printed}exactly 0 at {plural_steps(bad, counting, noun_of(trial))}, with gradient "
            f"norm {_norm_text(first)}, {because(trial, mechanism)}.{logged}{lowered}",
            severity=Severity.WARNING if few else Severity.ERROR,
            location=Location(step=first.step, trial=trial.name),
            evidence={
                "mechanism": mechanism.value,
                "steps": step_list(bad),
                "num_supervised_tokens": supervised_tokens(first),
                "grad_norm": norm(first),
                "learning_rate": first.learning_rate,
            },
            fix=Fix(description=_REMEDY[mechanism]),
        )


_REMEDY = {
    Mechanism.NO_SUPERVISED_TOKENS: "Give the rows labels; no-supervised-tokens names them.",
    Mechanism.MASKED_MICRO_BATCH: "Give the rows labels; no-supervised-tokens names them.",
    Mechanism.NON_FINITE_FORWARD: "Look for NaN: run a preflight with the job's model and rows, which sees "
    "the raw loss.",
    Mechanism.NON_FINITE_GRADIENT: "Look for NaN: run a preflight with the job's model and rows, which "
    "sees the raw loss.",
    Mechanism.NON_FINITE_WEIGHTS: "Get the model's weights again: they hold NaN as they are loaded.",
    Mechanism.FORWARD_OVERFLOW: "Train in bf16.",
    Mechanism.OVERFLOW: "Train in bf16.",
    Mechanism.HIDDEN: "Find the first NaN: run a preflight with the job's model and rows, which sees the raw loss.",
    Mechanism.UNTOLD: "Run a preflight with the job's model and rows: it sees the raw loss and the gradient.",
    Mechanism.SKIPPED: "Train in bf16; all-steps-skipped has the loss scales.",
    Mechanism.NO_GRADIENT: "Compute the loss from the model's output; a weight read outside forward is an "
    "empty tensor "
    "under ZeRO-3.",
}


def _norm_text(step: Step) -> str:
    size = norm(step)
    return "not in the log" if size is None and step.loss is None else number(size)


def _loss(step: Step) -> float | None:
    return step.loss if step.loss is not None else step.logged_loss


def _has_gradient(step: Step) -> bool:
    """A gradient above 0; in a log (no raw loss) a norm that is not finite, or a sentinel, is none."""
    size = norm(step)
    if size is None:
        return step.loss is not None and (step.update_ratio or 0) > 0
    if step.loss is None:
        return 0 < size < float("inf") and sentinel_groups(size) is None
    return size != 0

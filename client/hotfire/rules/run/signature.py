"""Which mechanism the numbers of a trial, or the lines of a log, speak of.

The table is the one measured on DeepSpeed 0.19.8 and read from the older sources: a loss printed as 0.0 is
"NaN or 0"; the gradient norm beside it tells which. No supervised token: norm exactly 0, the learning rate
moves. NaN gradients: norm `inf` (DeepSpeed from 0.19.7), NaN or √k before. Every step skipped: norm stuck at
its initial 0, learning rate stuck at 0.
"""

from __future__ import annotations

from enum import StrEnum

from hotfire.rules.evidence import Evidence, Step, Trial
from hotfire.rules.run.judged import (
    applied,
    is_finite,
    is_non_finite,
    never_moves,
    non_finite_gradient,
    non_finite_loss,
    norm,
    sentinel_groups,
    supervised_tokens,
    without_tokens,
)


class Mechanism(StrEnum):
    """Why a loss or a gradient is 0 or not finite."""

    NO_SUPERVISED_TOKENS = "no-supervised-tokens"
    MASKED_MICRO_BATCH = "masked-micro-batch"
    NON_FINITE_FORWARD = "non-finite-forward"
    NON_FINITE_WEIGHTS = "non-finite-weights"
    FORWARD_OVERFLOW = "forward-overflow"
    NON_FINITE_GRADIENT = "non-finite-gradient"
    OVERFLOW = "fp16-overflow"
    SKIPPED = "every-step-skipped"
    NO_GRADIENT = "no-gradient"
    HIDDEN = "hidden-non-finite"
    UNTOLD = "zero-or-nan"


WORDS = {
    Mechanism.NO_SUPERVISED_TOKENS: "no token has a label",
    Mechanism.MASKED_MICRO_BATCH: "a micro-batch without any label gives 0/0",
    Mechanism.NON_FINITE_FORWARD: "the forward pass is not finite although tokens have labels",
    Mechanism.NON_FINITE_WEIGHTS: "the weights of the model hold NaN or infinity before the first step",
    Mechanism.FORWARD_OVERFLOW: "activations go beyond the range of fp16 (65504) in the forward pass",
    Mechanism.NON_FINITE_GRADIENT: "the loss is finite and the gradient is not",
    Mechanism.OVERFLOW: "the scaled gradient overflows in fp16",
    Mechanism.SKIPPED: "every step was skipped, so the norm keeps its initial 0 and the learning rate "
    "stays at 0",
    Mechanism.HIDDEN: "the loss or the gradient is NaN or infinite, which the log hides",
    Mechanism.UNTOLD: "the loss is 0 or NaN; without a gradient norm a log does not tell which",
    Mechanism.NO_GRADIENT: "no gradient reaches the weights although tokens have labels",
}


def because(trial: Trial, mechanism: Mechanism) -> str:
    """The mechanism as the end of a sentence. What was measured is a cause; a log only looks like one."""
    if trial.from_log and mechanism is not Mechanism.UNTOLD:
        return f"which is what a log shows when {WORDS[mechanism]}"
    return f"because {WORDS[mechanism]}"


def mechanism_of_step(trial: Trial, step: Step) -> Mechanism | None:
    """The mechanism behind one step that is not healthy; None for a healthy one."""
    if trial.from_log:
        return _of_log(trial, step)
    size = norm(step)
    tokens = supervised_tokens(step)
    if non_finite_loss(step):
        if tokens == 0 or (size == 0 and tokens is None):
            return Mechanism.NO_SUPERVISED_TOKENS
        if without_tokens(step) and is_finite(size):
            return Mechanism.MASKED_MICRO_BATCH
        return _of_forward(trial)
    if step.applied is False and trial.dtype == "fp16":
        return Mechanism.OVERFLOW
    if non_finite_gradient(step):
        printed_zero = step.loss is None and step.logged_loss == 0
        return Mechanism.NON_FINITE_FORWARD if printed_zero else Mechanism.NON_FINITE_GRADIENT
    if size == 0:
        if tokens == 0 or (tokens is None and _loss(step) == 0):
            return Mechanism.NO_SUPERVISED_TOKENS
        if step.applied is None and step.learning_rate == 0:
            return Mechanism.SKIPPED
        return Mechanism.NO_GRADIENT
    return None


def _of_log(trial: Trial, step: Step) -> Mechanism | None:
    """Of a printed line. A printed loss of 0 is "0 or NaN": the Trainer leaves NaN out of its sum."""
    size, loss = norm(step), step.logged_loss
    dead = loss == 0 or is_non_finite(loss)
    if step.applied is False:
        return Mechanism.OVERFLOW
    if is_non_finite(size) or (dead and sentinel_groups(size) is not None):
        return Mechanism.HIDDEN
    if size is None:
        return (Mechanism.SKIPPED if never_moves(trial) else Mechanism.UNTOLD) if dead else None
    if size == 0:
        if never_moves(trial) or (not dead and step.learning_rate == 0):
            return Mechanism.SKIPPED
        return Mechanism.NO_SUPERVISED_TOKENS if dead else Mechanism.NO_GRADIENT
    return Mechanism.UNTOLD if is_non_finite(loss) else None


def _of_forward(trial: Trial) -> Mechanism:
    """Why a forward pass over tokens with labels is not finite: what the ranks found when they looked."""
    if trial.facts.get("non_finite_parameters_at_start"):
        return Mechanism.NON_FINITE_WEIGHTS
    if overflows(trial):
        return Mechanism.FORWARD_OVERFLOW
    return Mechanism.NON_FINITE_FORWARD


def overflows(trial: Trial) -> bool:
    """The first value that is not finite is fp16, and what went into it and the weights there are finite.

    Before any step changed the weights; a rank looks at the first step whose loss is not finite.
    """
    found = trial.facts.get("non_finite_module")
    if not isinstance(found, dict) or found.get("weights_finite") is False:
        return False
    moved = any(step.applied and (step.learning_rate or 0) > 0 for step in trial.steps[: _before(found)])
    return not moved and (found.get("dtype") == "float16" or trial.dtype == "fp16")


def _before(found: dict[str, object]) -> int:
    step = found.get("step")
    return step - 1 if isinstance(step, int) else 0


def no_token_has_a_label(trial: Trial) -> bool:
    """Every step that counts was one without a supervised token."""
    steps = applied(trial.steps)
    return bool(steps) and all(
        mechanism_of_step(trial, step) is Mechanism.NO_SUPERVISED_TOKENS for step in steps
    )


def data_explains(evidence: Evidence) -> bool:
    """The data was looked at, and no row of it has a supervised token."""
    rows = evidence.data.rows if evidence.data else []
    return bool(rows) and all(row.num_supervised == 0 for row in rows)


def _loss(step: Step) -> float | None:
    return step.loss if step.loss is not None else step.logged_loss

"""R116 accumulation-scaling."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.patch import get_pointer
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity, Step, Trial
from hotfire.rules.run.judged import is_finite, norm
from hotfire.rules.wording import number

_ACCUMULATION = "gradient_accumulation_steps"
_SAME_ROWS = 0.03
#: Other rows stand behind the two numbers: only a gross agreement with the factor speaks.
_OTHER_ROWS = 0.15


class AccumulationScaling(Rule):
    """Loss or gradient grow with the number of accumulation steps.

    Why:
        Each micro-batch's loss has to be divided by their number, or by all their tokens, exactly once. Where
        a model does not take `num_items_in_batch`, or a loop calls backward without dividing, the gradient is
        as many times too large: clipping and learning rate then mean something else, and a job that trains at
        accumulation 1 diverges at 32.

    Example:
        transformers 4.46 to 4.48: loss 138 at accumulation 32 instead of 6.4. Here: gradient norm 2.83
        against 1.42 without DeepSpeed, at accumulation 2.

    Fix:
        A transformers version that divides (4.49 or later); in a loop of your own, the config's accumulation
        equal to the loop's and one division.

    Source:
        huggingface/transformers pull requests 34191, 35438, issue 37766; hiyouga/LlamaFactory issue 7443.
    """

    id = "R116"
    name = "accumulation-scaling"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """The job beside the run without DeepSpeed on the same rows; and trials that differ in it only."""
        candidate, reference = evidence.candidate, evidence.reference
        pairs = _differing_in_accumulation(evidence)
        with_reference = (
            candidate is not None and reference is not None and candidate.steps and reference.steps
        )
        if not with_reference and not pairs:
            raise Skip("it takes a second trial: the run without DeepSpeed, or one with another accumulation")
        found = (
            _against_reference(candidate, reference)
            if candidate is not None and reference is not None and with_reference
            else None
        )
        if found is None:
            found = next((f for pair in pairs if (f := _against_less(*pair)) is not None), None)
        if found is not None:
            yield found


def _against_reference(candidate: Trial, reference: Trial) -> Finding | None:
    accumulation, ranks = _accumulation(candidate), candidate.num_ranks or 1
    if accumulation is None or accumulation < 2:
        return None
    ours, theirs = candidate.steps[0], reference.steps[0]
    factors = {
        accumulation * ranks: f"{accumulation} accumulation steps times {ranks} ranks",
        accumulation: f"the {accumulation} accumulation steps",
    }
    for what, a, b in _numbers(ours, theirs):
        for factor, words in factors.items():
            if abs(a / b / factor - 1) <= _SAME_ROWS:
                return _finding(
                    candidate,
                    ours,
                    f"The {what} at step {ours.step} is {number(a)}, {number(a / b)} times that of the run "
                    f"without DeepSpeed on the same rows ({number(b)}): it is multiplied by {words} instead of "
                    "averaged.",
                    {"what": what, "value": a, "reference": b, "factor": factor},
                )
    return None


def _against_less(small: Trial, large: Trial) -> Finding | None:
    few, many = _accumulation(small), _accumulation(large)
    if few is None or many is None:
        return None
    factor = many / few
    for what, a, b in _numbers(large.steps[0], small.steps[0]):
        if abs(a / b / factor - 1) <= _OTHER_ROWS:
            return _finding(
                large,
                large.steps[0],
                f"The {what} at step 1 is {number(b)} at accumulation {few} and {number(a)} at {many}: it grows "
                f"with the accumulation ({number(a / b)} times).",
                {"what": what, "value": a, "reference": b, "factor": factor, "other_trial": small.name},
            )
    return None


def _finding(trial: Trial, step: Step, message: str, numbers: dict[str, Any]) -> Finding:
    return Finding(
        message=message,
        location=Location(config_path=f"/deepspeed/{_ACCUMULATION}", step=step.step, trial=trial.name),
        evidence={**numbers, "accumulation": _accumulation(trial), "num_ranks": trial.num_ranks},
        fix=Fix(
            description="Divide the loss once: a transformers version from 4.49 on, a model that takes "
            "num_items_in_batch, and in a loop of your own the accumulation that the config says."
        ),
    )


def _numbers(a: Step, b: Step) -> list[tuple[str, float, float]]:
    """(what, number of a, number of b): loss and gradient norm of both, where they can be divided."""
    found = []
    for what, one, two in (("loss", a.loss, b.loss), ("gradient norm", norm(a), norm(b))):
        if one is not None and two is not None and is_finite(one) and is_finite(two) and one > 0 and two > 0:
            found.append((what, one, two))
    return found


def _accumulation(trial: Trial) -> int | None:
    """The accumulation that the trial ran with."""
    for value in (
        trial.facts.get(_ACCUMULATION),
        get_pointer(trial.effective_config or {}, f"/{_ACCUMULATION}"),
    ):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _differing_in_accumulation(evidence: Evidence) -> list[tuple[Trial, Trial]]:
    """(fewer, more): the candidate and each trial whose patch changes the accumulation and nothing else."""
    candidate = evidence.candidate
    if candidate is None or not candidate.steps or _accumulation(candidate) is None:
        return []
    pairs = []
    for trial in evidence.trials or []:
        if trial is candidate or not trial.patch or not trial.steps:
            continue
        if any(operation.path.rsplit("/", 1)[-1] != _ACCUMULATION for operation in trial.patch):
            continue
        ordered = sorted((candidate, trial), key=lambda t: _accumulation(t) or 0)
        if (_accumulation(ordered[0]) or 0) != (_accumulation(ordered[1]) or 0):
            pairs.append((ordered[0], ordered[1]))
    return pairs

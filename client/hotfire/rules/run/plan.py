"""The learning rate that the job asked for, step by step."""

from __future__ import annotations

from typing import Any

from hotfire.dsconfig import effective, schedule
from hotfire.patch import PatchError, apply_patch
from hotfire.rules.engine import Skip
from hotfire.rules.evidence import Cluster, Evidence, Phase, Trial
from hotfire.rules.remedy import document


def planned_rates(evidence: Evidence, trial: Trial) -> list[tuple[float, ...] | None]:
    """Per step, the rates that would be right: the planned one, then its neighbours.

    Whether the first applied step counts as step 0 or 1 differs between schedulers; either is on plan. Steps
    at the peak have None: their rate is set by the trial.

    Raises:
        Skip: The requested curve is not known.
    """
    if all(step.planned_learning_rate is None for step in trial.steps):
        return _computed(evidence, trial)
    result: list[tuple[float, ...] | None] = []
    for index, step in enumerate(trial.steps):
        if step.phase is Phase.PEAK or step.planned_learning_rate is None:
            result.append(None)
            continue
        near = [step, *trial.steps[max(0, index - 1) : index + 2]]
        result.append(tuple(s.planned_learning_rate for s in near if s.planned_learning_rate is not None))
    return result


def _computed(evidence: Evidence, trial: Trial) -> list[tuple[float, ...] | None]:
    training = training_of(evidence, trial)
    config = trial.effective_config or (evidence.config.effective if evidence.config else None) or {}
    curve = schedule.learning_rates(config, training, _total_steps(evidence, trial, training, config))
    if curve is None:
        raise Skip("the requested learning rate curve is not known")
    result: list[tuple[float, ...] | None] = []
    done = 0
    for step in trial.steps:
        if step.phase is Phase.PEAK:
            result.append(None)
        else:
            result.append(tuple(curve.rate(at) for at in (done, max(0, done - 1), done + 1)))
        done += step.applied is not False
    return result


def training_of(evidence: Evidence, trial: Trial) -> dict[str, Any]:
    """The training arguments that the trial ran with: the job's own, with the trial's patch."""
    own = evidence.training or {}
    if not any(operation.path.startswith("/training") for operation in trial.patch):
        return own
    try:
        patched = apply_patch(document(evidence), trial.patch)
    except PatchError:
        return own
    return patched.get("training") or {}


def _total_steps(
    evidence: Evidence, trial: Trial, training: dict[str, Any], config: dict[str, Any]
) -> int | None:
    if (known := trial.facts.get("total_steps")) is not None:
        return int(known)
    cluster = evidence.cluster or Cluster()
    batch = effective.batch(config, training, evidence.loop, cluster.world_size)
    return schedule.total_steps(training, cluster, batch)

"""The stage matrix: how the job went at each ZeRO stage, and which of those that train is the one to take."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hotfire.dsconfig.memory import Forecaster
from hotfire.dsconfig.states import Placement, state_bytes
from hotfire.rules.engine import Skip
from hotfire.rules.evidence import Evidence, Role, Trial, TrialOutcome
from hotfire.rules.model.memory_job import forecaster_of
from hotfire.rules.zero.seen import Seen

STAGE_PATH = "/deepspeed/zero_optimization/stage"
OFFLOAD_PATHS = (
    "/deepspeed/zero_optimization/offload_optimizer",
    "/deepspeed/zero_optimization/offload_param",
)
#: Of the GPU's memory, where only the states can be forecast; the rest is for activations, buffers and fragments.
_SHARE_FOR_STATES = 0.8


@dataclass(kw_only=True, slots=True)
class StageResult:
    """One ZeRO stage, as it ran with the job's other keys. Field names are the wire's."""

    stage: int
    outcome: TrialOutcome | None = None
    agrees_with_reference: bool | None = None
    loss_gap: float | None = None
    grad_norm_gap: float | None = None
    peak_memory_bytes: int | None = None
    step_seconds: float | None = None
    forecast_bytes: int | None = None
    offload: str | None = None


def placement_of(trial: Trial) -> Placement | None:
    """Stage and offload of a trial; of one that crashed before it had an engine, the stage that was asked for."""
    stage = trial.stage
    if stage is None:
        asked = next((o.value for o in trial.patch if o.path == STAGE_PATH), None)
        stage = asked if isinstance(asked, int) else None
    return None if stage is None else Placement(stage=stage, offload=trial.offload)


def changes_only_stage(trial: Trial) -> bool:
    """It runs the job at another stage, with the same other keys (those of stage 3 alone go with stage 3)."""
    paths = [operation.path for operation in trial.patch]
    below_3 = any(o.path == STAGE_PATH and isinstance(o.value, int) and o.value < 3 for o in trial.patch)
    allowed = {STAGE_PATH, OFFLOAD_PATHS[1]} if below_3 else {STAGE_PATH}
    return STAGE_PATH in paths and set(paths) <= allowed


def is_of_the_matrix(trial: Trial) -> bool:
    """A stage trial, or any other that changes nothing but the stage."""
    return trial.role is Role.STAGE or changes_only_stage(trial)


def stage_results(seen: Sequence[Seen], evidence: Evidence) -> list[StageResult]:
    """One result per stage and offload, the candidate's own first wins; by stage."""
    results: dict[tuple[int, str], StageResult] = {}
    forecasts = _Forecasts(evidence)
    for entry in seen:
        place = placement_of(entry.trial)
        key = (place.stage, place.offload or "") if place else None
        if place is None or key is None or key in results:
            continue
        seconds = [step.step_seconds for step in entry.trial.steps if step.step_seconds is not None]
        results[key] = StageResult(
            stage=place.stage,
            offload=place.offload,
            outcome=entry.judged.outcome,
            agrees_with_reference=entry.agreement.agrees,
            loss_gap=entry.agreement.loss_gap,
            grad_norm_gap=entry.agreement.grad_norm_gap,
            peak_memory_bytes=entry.trial.peak_memory_bytes,
            step_seconds=statistics.median(seconds) if seconds else None,
            forecast_bytes=forecasts.of(place, entry.trial),
        )
    return [results[key] for key in sorted(results)]


class _Forecasts:
    """What a GPU of the target takes at a stage: the whole forecast, or the states where that is all that is known."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._forecaster: Forecaster | None
        try:
            self._forecaster = forecaster_of(evidence)
        except Skip:
            self._forecaster = None

    @property
    def limit_bytes(self) -> float | None:
        """What the figures may come to."""
        available = self._evidence.cluster.gpu_memory_bytes if self._evidence.cluster else None
        if available is None or self.is_whole:
            return available
        return available * _SHARE_FOR_STATES

    @property
    def is_whole(self) -> bool:
        """Activations and buffers are in it."""
        return self._forecaster is not None and self._forecaster.setting.length is not None

    def of(self, place: Placement, trial: Trial) -> int | None:
        if self._forecaster is not None and self.is_whole:
            return self._forecaster.placed(place).total_bytes
        model = self._evidence.model
        world = self._evidence.cluster.world_size if self._evidence.cluster else None
        if model is None or model.num_parameters is None or not world:
            return None
        trainable = model.num_trainable if model.num_trainable is not None else model.num_parameters
        return state_bytes(
            place,
            num_parameters=model.num_parameters,
            num_trainable=trainable,
            world_size=world,
            dtype=trial.dtype,
        )


def best_of(seen: Iterable[Seen], submitted: int | None, evidence: Evidence) -> Seen | None:
    """The cheapest stage that fits the target; where memory is not known, the nearest that saves as much."""
    entries = [(entry, place) for entry in seen if (place := placement_of(entry.trial)) is not None]
    if not entries:
        return None
    forecasts = _Forecasts(evidence)
    needed = {id(entry): forecasts.of(place, entry.trial) for entry, place in entries}
    limit = forecasts.limit_bytes
    if limit and all(value is not None for value in needed.values()):
        fitting = [(e, p) for e, p in entries if (needed[id(e)] or 0) <= limit]
        if fitting:
            return min(fitting, key=lambda pair: pair[1].cost)[0]
    plain = [(e, p) for e, p in entries if p.offload is None] or entries
    above = [(e, p) for e, p in plain if p.stage > (submitted or 0)]
    if above:
        return min(above, key=lambda pair: pair[1].cost)[0]
    return max(plain, key=lambda pair: pair[1].stage)[0]

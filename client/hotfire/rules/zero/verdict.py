"""ZeRO's part in it: from candidate, reference and the other trials to one verdict."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from hotfire.rules.evidence import (
    Evidence,
    Fix,
    Guilty,
    PatchOperation,
    Role,
    Trial,
    TrialOutcome,
    Verification,
)
from hotfire.rules.remedy import describe_patch, with_patch
from hotfire.rules.run.outcome import Judged, judge_trial
from hotfire.rules.wording import clause, listed
from hotfire.rules.zero.compare import Agreement, compare

STAGE_PATH = "/deepspeed/zero_optimization/stage"
#: Arguments that only repeat a key of the DeepSpeed config: a patch of that key must change them too.
_MIRRORS = {
    "fp16",
    "bf16",
    "learning_rate",
    "warmup_steps",
    "warmup_ratio",
    "max_grad_norm",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "gradient_accumulation_steps",
    "per_device_train_batch_size",
}


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


@dataclass(kw_only=True, slots=True)
class ZeroVerdict:
    """Field names are those of the wire's `ZeroReport`."""

    submitted_stage: int | None = None
    stages: list[StageResult] = field(default_factory=list)
    guilty: Guilty = Guilty.UNKNOWN
    guilty_keys: list[str] = field(default_factory=list)
    recommended_patch: list[PatchOperation] = field(default_factory=list)
    explanation: str = ""
    # Not on the wire:
    open_reason: str | None = None
    """What is missing for a verdict, where the explanation says more than that."""
    trial: str | None = None
    """Name of the trial that ran the recommended patch and trains."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A trial with its judgement and how near it is to the reference."""

    trial: Trial
    judged: Judged
    agreement: Agreement

    @property
    def healthy(self) -> bool:
        return self.judged.trains and self.agreement.agrees is not False


def zero_verdict(evidence: Evidence) -> ZeroVerdict:
    """Separates ZeRO from everything else, by experiment.

    Args:
        evidence: The job with its trials: candidate, reference, and whatever else was run.

    Returns:
        The verdict; UNKNOWN with the reason in `explanation` where the trials do not decide it.
    """
    candidate, reference = evidence.candidate, evidence.reference
    verdict = ZeroVerdict(submitted_stage=_submitted_stage(evidence))
    if candidate is None:
        verdict.explanation = "The job as given was not run, so nothing can be said about ZeRO."
        return verdict
    ours = _see(candidate, evidence, reference)
    stage_trials = [
        _see(trial, evidence, reference) for trial in evidence.trials or [] if _changes_only_stage(trial)
    ]
    verdict.stages = _stage_results([ours, *stage_trials])
    if ours.judged.outcome is TrialOutcome.NOT_EXERCISED:
        reason = (ours.judged.reason or "no reason was given").rstrip(".")
        verdict.explanation = f"The job as given was not run to its end here: {reason}."
        return verdict
    if reference is None:
        verdict.explanation = "The run without DeepSpeed, which would tell, was not made."
        return verdict
    theirs = judge_trial(reference, evidence)
    if ours.judged.trains:
        _judge_training(evidence, verdict, ours, theirs, stage_trials)
    else:
        _judge_failing(evidence, verdict, ours, theirs, stage_trials)
    return verdict


def _judge_training(
    evidence: Evidence, verdict: ZeroVerdict, ours: _Seen, theirs: Judged, stages: list[_Seen]
) -> None:
    name = _name(verdict)
    if not theirs.trains:
        verdict.explanation = (
            f"{name} trains, but the run without DeepSpeed did not ({clause(theirs.reason)}), so "
            "that there is nothing to compare with."
        )
    elif ours.agreement.agrees is None:
        verdict.explanation = f"{name} and the run without DeepSpeed both train, but {ours.agreement.reason}."
    elif ours.agreement.agrees:
        verdict.guilty = Guilty.NONE
        verdict.explanation = (
            f"{name} trains like the run without DeepSpeed: loss gap "
            f"{_gap_words(ours.agreement.loss_gap)}, gradient norm gap "
            f"{_gap_words(ours.agreement.grad_norm_gap)} at the first step."
        )
    else:
        what = f"{name} trains, but not like the run without DeepSpeed: {ours.agreement.reason}"
        _blame(evidence, verdict, ours, stages, what)


def _judge_failing(
    evidence: Evidence, verdict: ZeroVerdict, ours: _Seen, theirs: Judged, stages: list[_Seen]
) -> None:
    name = _name(verdict)
    if ours.judged.fails_like(theirs):
        verdict.guilty = Guilty.NOT_ZERO
        also = [seen for seen in stages if ours.judged.fails_like(seen.judged)]
        stages_too = (
            f" So do the other stages that were tried ({listed(_stage_of(seen.trial) for seen in also)})."
            if also
            else ""
        )
        verdict.explanation = (
            "ZeRO is not the cause: the run without DeepSpeed fails the same way "
            f"({clause(theirs.reason)}).{stages_too}"
        )
    elif theirs.fails:
        verdict.explanation = (
            f"Both fail, but not in the same way: {name} ({clause(ours.judged.reason)}), without "
            f"DeepSpeed ({clause(theirs.reason)})."
        )
    elif not theirs.trains:
        verdict.explanation = (
            f"{name} does not train ({clause(ours.judged.reason)}), and the run without "
            f"DeepSpeed was not run to its end: {theirs.reason}."
        )
    else:
        what = f"{name} does not train ({clause(ours.judged.reason)}), and the run without DeepSpeed does"
        _blame(evidence, verdict, ours, stages, what)


def _blame(evidence: Evidence, verdict: ZeroVerdict, ours: _Seen, stages: list[_Seen], what: str) -> None:
    """The candidate is worse than the reference: another stage, other keys, or another version cures it."""
    curing = [seen for seen in stages if seen.healthy and seen.trial.stage != verdict.submitted_stage]
    keys = _smallest_cure(evidence, verdict.submitted_stage)
    if curing:
        best = _preferred(curing, verdict.submitted_stage)
        verdict.guilty, verdict.guilty_keys = Guilty.STAGE, [STAGE_PATH]
        verdict.recommended_patch = list(best.trial.patch) or [
            PatchOperation(op="replace", path=STAGE_PATH, value=best.trial.stage)
        ]
        verdict.trial = best.trial.name
        numbers = sorted({seen.trial.stage for seen in curing if seen.trial.stage is not None})
        trained = (
            f"stage{'s' if len(numbers) > 1 else ''} {listed(numbers)} train{'' if len(numbers) > 1 else 's'}"
        )
        verdict.explanation = f"{what}. With the same other keys {trained}."
        if keys is not None:
            verdict.explanation += (
                f" At the submitted stage {describe_patch(keys.trial.patch)} cures it "
                f"too ({keys.trial.name})."
            )
    elif keys is not None:
        verdict.guilty, verdict.guilty_keys = Guilty.KEYS, _config_keys(keys.trial)
        verdict.recommended_patch, verdict.trial = list(keys.trial.patch), keys.trial.name
        verdict.explanation = f"{what}. {_sentence_start(keys.trial)} the submitted stage trains."
    elif (version := _version_cure(evidence, ours.trial)) is not None:
        verdict.guilty, verdict.guilty_keys = Guilty.VERSION, _all_keys(version.trial)
        verdict.recommended_patch, verdict.trial = list(version.trial.patch), version.trial.name
        verdict.explanation = f"{what}. {_sentence_start(version.trial)} it trains."
    else:
        tried = [
            trial.name for trial in evidence.trials or [] if trial.role in (Role.STAGE, Role.BISECT, Role.FIX)
        ]
        verdict.open_reason = (
            f"None of the other trials cures it ({listed(tried)})."
            if tried
            else "No other stage or key was tried."
        )
        verdict.explanation = f"{what}. {verdict.open_reason}"


def fix_of(verdict: ZeroVerdict) -> Fix | None:
    """The recommended patch as a fix, with the trial that ran it."""
    if not verdict.recommended_patch:
        return None
    return Fix(
        description=f"Change {describe_patch(verdict.recommended_patch)}.",
        patch=verdict.recommended_patch,
        verification=Verification.VERIFIED if verdict.trial else Verification.NOT_TRIED,
        trial=verdict.trial,
    )


def _changes_only_stage(trial: Trial) -> bool:
    """A stage trial, or any other that runs the job at another stage and changes nothing else."""
    if trial.role is Role.STAGE:
        return True
    return bool(trial.patch) and all(operation.path == STAGE_PATH for operation in trial.patch)


def _stage_of(trial: Trial) -> int | None:
    """The stage that ran; of a trial that crashed before it had an engine, the stage that was asked for."""
    if trial.stage is not None:
        return trial.stage
    asked = next((operation.value for operation in trial.patch if operation.path == STAGE_PATH), None)
    return asked if isinstance(asked, int) else None


def _see(trial: Trial, evidence: Evidence, reference: Trial | None) -> _Seen:
    agreement = (
        compare(trial, reference)
        if reference is not None
        else Agreement(agrees=None, reason="there is no reference")
    )
    return _Seen(trial, judge_trial(trial, evidence), agreement)


def _submitted_stage(evidence: Evidence) -> int | None:
    if evidence.candidate is not None and evidence.candidate.stage is not None:
        return evidence.candidate.stage
    config = (evidence.config.effective or evidence.config.given or {}) if evidence.config else {}
    section = config.get("zero_optimization")
    if not isinstance(section, dict):
        return 0 if evidence.config is not None and config else None
    stage = section.get("stage", 0)
    return stage if isinstance(stage, int) else None


def _stage_results(seen: list[_Seen]) -> list[StageResult]:
    """One result per stage, the candidate's own first wins; by stage."""
    results: dict[int, StageResult] = {}
    for entry in seen:
        stage = _stage_of(entry.trial)
        if stage is None or stage in results:
            continue
        seconds = [step.step_seconds for step in entry.trial.steps if step.step_seconds is not None]
        results[stage] = StageResult(
            stage=stage,
            outcome=entry.judged.outcome,
            agrees_with_reference=entry.agreement.agrees,
            loss_gap=entry.agreement.loss_gap,
            grad_norm_gap=entry.agreement.grad_norm_gap,
            peak_memory_bytes=entry.trial.peak_memory_bytes,
            step_seconds=statistics.median(seconds) if seconds else None,
        )
    return [results[stage] for stage in sorted(results)]


def _preferred(curing: list[_Seen], submitted: int | None) -> _Seen:
    """The nearest stage that saves at least as much memory; else the highest of the lower ones."""
    above = [seen for seen in curing if (seen.trial.stage or 0) > (submitted or 0)]
    if above:
        return min(above, key=lambda seen: seen.trial.stage or 0)
    return max(curing, key=lambda seen: seen.trial.stage or 0)


def _smallest_cure(evidence: Evidence, stage: int | None) -> _Seen | None:
    """Of the trials at the submitted stage that train like the reference: the smallest patch of keys."""
    cures = [
        seen
        for trial in evidence.trials or []
        if trial.role in (Role.BISECT, Role.FIX) and trial.stage == stage and _config_keys(trial)
        if (seen := _see(trial, evidence, evidence.reference)).healthy
    ]
    return min(cures, key=lambda seen: len(seen.trial.patch), default=None)


def _version_cure(evidence: Evidence, candidate: Trial) -> _Seen | None:
    for trial in evidence.trials or []:
        if trial is candidate or not trial.patch:
            continue
        if all(operation.path.startswith("/cluster/versions") for operation in trial.patch):
            seen = _see(trial, evidence, evidence.reference)
            if seen.healthy:
                return seen
    return None


def _config_keys(trial: Trial) -> list[str]:
    """The keys of the DeepSpeed config that a patch changes; empty if it changes anything else than those."""
    keys: list[str] = []
    for operation in trial.patch:
        if operation.path.startswith("/deepspeed/") and operation.path != STAGE_PATH:
            keys.append(operation.path)
        elif operation.path.removeprefix("/training/") not in _MIRRORS:
            return []
    return keys


def _all_keys(trial: Trial) -> list[str]:
    return [operation.path for operation in trial.patch]


def _sentence_start(trial: Trial) -> str:
    """With (or without) what the trial changed."""
    words = with_patch(trial.patch)
    return words[:1].upper() + words[1:]


def _name(verdict: ZeroVerdict) -> str:
    return "The job" if verdict.submitted_stage is None else f"ZeRO stage {verdict.submitted_stage}"


def _gap_words(gap: float | None) -> str:
    return "not measured" if gap is None else f"{100 * gap:.2g} %"

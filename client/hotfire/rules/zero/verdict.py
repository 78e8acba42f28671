"""ZeRO's part in it: from candidate, reference and the other trials to one verdict."""

from __future__ import annotations

from dataclasses import dataclass, field

from hotfire.rules.evidence import (
    Evidence,
    Fix,
    Guilty,
    PatchOperation,
    Role,
    Search,
    Trial,
    TrialOutcome,
    Verification,
)
from hotfire.rules.remedy import describe_patch, with_patch
from hotfire.rules.run.outcome import Judged, judge_trial
from hotfire.rules.wording import clause, counted, listed
from hotfire.rules.zero.cures import config_keys, is_unstable, repeats, smallest_key_cure, version_cure
from hotfire.rules.zero.seen import Seen, see
from hotfire.rules.zero.stages import (
    STAGE_PATH,
    StageResult,
    best_of,
    changes_only_stage,
    is_of_the_matrix,
    placement_of,
    stage_results,
)

__all__ = ["STAGE_PATH", "StageResult", "ZeroVerdict", "fix_of", "other_fixes", "zero_verdict"]


@dataclass(kw_only=True, slots=True)
class ZeroVerdict:
    """Field names are those of the wire's `ZeroReport`."""

    submitted_stage: int | None = None
    stages: list[StageResult] = field(default_factory=list)
    guilty: Guilty = Guilty.UNKNOWN
    guilty_keys: list[str] = field(default_factory=list)
    recommended_patch: list[PatchOperation] = field(default_factory=list)
    explanation: str = ""
    search: Search | None = None
    # Not on the wire:
    open_reason: str | None = None
    """What is missing for a verdict, where the explanation says more than that."""
    trial: str | None = None
    """Name of the trial that ran the recommended patch and trains."""
    others: list[Trial] = field(default_factory=list)
    """Other trials that cure it, each in its own way."""
    unstable: bool = False
    """The same, run again, went another way."""


def zero_verdict(evidence: Evidence) -> ZeroVerdict:
    """Separates ZeRO from everything else, by experiment.

    Args:
        evidence: The job with its trials: candidate, reference, and whatever else was run.

    Returns:
        The verdict; UNKNOWN with the reason in `explanation` where the trials do not decide it.
    """
    candidate, reference = evidence.candidate, evidence.reference
    verdict = ZeroVerdict(submitted_stage=_submitted_stage(evidence), search=evidence.search)
    if candidate is None:
        verdict.explanation = "The job as given was not run, so nothing can be said about ZeRO."
        return verdict
    ours = see(candidate, evidence)
    stage_trials = [see(trial, evidence) for trial in evidence.trials or [] if is_of_the_matrix(trial)]
    verdict.stages = stage_results([ours, *stage_trials], evidence)
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
    evidence: Evidence, verdict: ZeroVerdict, ours: Seen, theirs: Judged, stages: list[Seen]
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
    evidence: Evidence, verdict: ZeroVerdict, ours: Seen, theirs: Judged, stages: list[Seen]
) -> None:
    name = _name(verdict)
    if ours.judged.fails_like(theirs):
        verdict.guilty = Guilty.NOT_ZERO
        also = [seen for seen in stages if ours.judged.fails_like(seen.judged)]
        stages_too = (
            f" So do the other stages that were tried ({listed(_stage_words(seen.trial) for seen in also)})."
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


def _blame(evidence: Evidence, verdict: ZeroVerdict, ours: Seen, stages: list[Seen], what: str) -> None:
    """The candidate is worse than the reference: another version, another stage, or other keys cure it."""
    if is_unstable(ours.trial, evidence):
        again = see(repeats(evidence)[ours.trial.name], evidence)
        verdict.unstable = True
        verdict.open_reason = (
            f"Run again, unchanged, it went another way ({again.trial.name}: {clause(again.judged.reason)}), so "
            "that no key can be blamed."
        )
        verdict.explanation = f"{what}. {verdict.open_reason}"
        return
    curing = [seen for seen in stages if seen.healthy and not is_unstable(seen.trial, evidence)]
    only_stage = [
        seen
        for seen in curing
        if changes_only_stage(seen.trial) and _stage(seen.trial) != verdict.submitted_stage
    ]
    keys = smallest_key_cure(evidence, verdict.submitted_stage)
    version = version_cure(evidence)
    if version is not None:
        _take(verdict, Guilty.VERSION, version, [o.path for o in version.trial.patch])
        verdict.explanation = (
            f"{what}. {_sentence_start(version.trial)}, and nothing else changed, it trains."
        )
    elif only_stage:
        best = best_of(only_stage, verdict.submitted_stage, evidence) or only_stage[0]
        own_keys = _guilty_keys(keys, evidence) if keys is not None else []
        _take(verdict, Guilty.STAGE, best, [STAGE_PATH, *own_keys])
        verdict.explanation = f"{what}. With the same other keys {_stages_train(only_stage)}."
        if keys is not None:
            verdict.explanation += (
                f" At the submitted stage {describe_patch(keys.trial.patch)} cures it "
                f"too ({keys.trial.name})."
            )
    elif keys is not None:
        _take(verdict, Guilty.KEYS, keys, _guilty_keys(keys, evidence))
        verdict.explanation = f"{what}. {_sentence_start(keys.trial)} the submitted stage trains."
        partners = [key for key in verdict.guilty_keys if key not in config_keys(keys.trial)]
        if partners:
            verdict.explanation += f" It breaks only together with {listed(map(_key_words, partners))}."
    else:
        _leave_open(evidence, verdict, curing, what)
        return
    cures = [seen.trial for seen in (*only_stage, keys, *curing) if seen is not None]
    verdict.others = list({t.name: t for t in cures if t.name != verdict.trial}.values())
    verdict.explanation += _search_words(evidence.search)


def _guilty_keys(cure: Seen, evidence: Evidence) -> list[str]:
    """The keys that the cure changes, with those that the search found guilty together with them."""
    keys = config_keys(cure.trial)
    found = evidence.search.guilty if evidence.search else []
    return found if set(keys) & set(found) else keys


def _key_words(pointer: str) -> str:
    return pointer.removeprefix("/deepspeed/").replace("/", ".")


def _take(verdict: ZeroVerdict, guilty: Guilty, cure: Seen, keys: list[str]) -> None:
    verdict.guilty, verdict.guilty_keys = guilty, keys
    verdict.recommended_patch, verdict.trial = list(cure.trial.patch), cure.trial.name


def _leave_open(evidence: Evidence, verdict: ZeroVerdict, curing: list[Seen], what: str) -> None:
    tried = [t.name for t in evidence.trials or [] if t.role in (Role.STAGE, Role.BISECT, Role.FIX)]
    verdict.open_reason = (
        f"None of the other trials tells which key it is ({listed(tried)})."
        if tried
        else "No other stage or key was tried."
    )
    best = best_of(curing, verdict.submitted_stage, evidence)
    if best is not None:
        verdict.recommended_patch, verdict.trial = list(best.trial.patch), best.trial.name
        verdict.open_reason = f"{_sentence_start(best.trial)} it trains, which no single change explains."
    verdict.explanation = f"{what}. {verdict.open_reason}{_search_words(evidence.search)}"


def _stages_train(seen: list[Seen]) -> str:
    numbers = sorted({stage for entry in seen if (stage := _stage(entry.trial)) is not None})
    return f"stage{'s' if len(numbers) > 1 else ''} {listed(numbers)} train{'' if len(numbers) > 1 else 's'}"


def _search_words(search: Search | None) -> str:
    """What the search for guilty keys cost and left open."""
    if search is None or not search.num_trials:
        return ""
    keys, trials = counted(search.num_keys, "differing key"), counted(search.num_trials, "trial")
    words = f" The search went through {keys} in {trials}"
    return f"{words}; the search ended early: {search.stopped}." if search.stopped else f"{words}."


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


def other_fixes(verdict: ZeroVerdict) -> list[Fix]:
    """The other changes that were tried and train."""
    return [
        Fix(
            description=f"Or change {describe_patch(trial.patch)}.",
            patch=list(trial.patch),
            verification=Verification.VERIFIED,
            trial=trial.name,
        )
        for trial in verdict.others
    ]


def _stage(trial: Trial) -> int | None:
    place = placement_of(trial)
    return place.stage if place else None


def _stage_words(trial: Trial) -> str:
    place = placement_of(trial)
    if place is None:
        return trial.name
    return f"{place.stage} with offload of {place.offload}" if place.offload else str(place.stage)


def _submitted_stage(evidence: Evidence) -> int | None:
    if evidence.candidate is not None and evidence.candidate.stage is not None:
        return evidence.candidate.stage
    config = (evidence.config.effective or evidence.config.given or {}) if evidence.config else {}
    section = config.get("zero_optimization")
    if not isinstance(section, dict):
        return 0 if evidence.config is not None and config else None
    stage = section.get("stage", 0)
    return stage if isinstance(stage, int) else None


def _sentence_start(trial: Trial) -> str:
    """With (or without) what the trial changed."""
    words = with_patch(trial.patch)
    return words[:1].upper() + words[1:]


def _name(verdict: ZeroVerdict) -> str:
    return "The job" if verdict.submitted_stage is None else f"ZeRO stage {verdict.submitted_stage}"


def _gap_words(gap: float | None) -> str:
    return "not measured" if gap is None else f"{100 * gap:.2g} %"

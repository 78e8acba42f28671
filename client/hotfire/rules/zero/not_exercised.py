"""Z105 not-exercised."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.dsconfig.known_bad import KnownBad
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Guilty, Location, Severity, TrialOutcome
from hotfire.rules.known_faults import known_faults, versions_of
from hotfire.rules.zero.verdict import zero_verdict


class NotExercised(Rule):
    """What could not be judged here, and what it would need.

    Why:
        A trial on two CPU ranks cannot show a race between CUDA streams, and a stage that was not run is not
        known to train. What was not exercised counts neither as passed nor as failed.

    Example:
        `overlap_comm: true` on a CPU worker; a reference that ran out of memory; a candidate that could not
        start.

    Fix:
        Nothing to fix; the message says what would be needed.

    Source:
        The guards against false verdicts: races need the real world size, real lengths and at least ten
        steps.
    """

    id = "Z105"
    name = "not-exercised"
    severity = Severity.INFO
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """An open ZeRO verdict, and gradient races that need the target's GPUs."""
        verdict = zero_verdict(evidence)
        if verdict.guilty is Guilty.UNKNOWN:
            faults = known_faults(evidence)
            yield Finding(
                message=f"ZeRO's part could not be judged. {verdict.open_reason or verdict.explanation}"
                f"{_known_words(evidence, faults)}",
                location=Location(trial=evidence.candidate.name if evidence.candidate else None),
                evidence={"submitted_stage": verdict.submitted_stage, **_known(faults)},
            )
        elif verdict.guilty is Guilty.NONE and _may_race(evidence):
            faults = [fault for fault in known_faults(evidence) if not fault.reproducible_on_cpu]
            yield Finding(
                message="Races between CUDA streams (overlap_comm) were not exercised: they need the "
                "target's GPUs, its number "
                f"of ranks, its lengths and at least ten steps.{_known_words(evidence, faults)}",
                location=Location(config_path="/deepspeed/zero_optimization/overlap_comm"),
                evidence={"num_ranks": _num_ranks(evidence), "device": _device(evidence), **_known(faults)},
            )
        not_run = [
            trial
            for trial in evidence.trials or []
            if trial.outcome is TrialOutcome.NOT_EXERCISED and trial is not evidence.candidate
        ]
        for trial in not_run:
            yield Finding(
                message=f"The trial {trial.name} was not run: {(trial.reason or 'no reason was given').rstrip('.')}.",
                location=Location(trial=trial.name),
            )


def _may_race(evidence: Evidence) -> bool:
    """Overlapping communication at stage 1 or 2, asked for by the config, on a device without streams."""
    candidate = evidence.candidate
    if candidate is None or candidate.stage not in (1, 2):
        return False
    config = (evidence.config.effective or evidence.config.given or {}) if evidence.config else {}
    section = config.get("zero_optimization")
    asked = isinstance(section, dict) and section.get("overlap_comm") is True
    return asked and (_device(evidence) or "cpu").lower() == "cpu"


def _known_words(evidence: Evidence, faults: list[KnownBad]) -> str:
    """What the version table knows of such a job, as further sentences."""
    version = versions_of(evidence).get("deepspeed")
    if version is None:
        return ""
    if not faults:
        return f" The version table knows nothing against DeepSpeed {version} with such a config."
    return f" The version table: DeepSpeed {version} {'; it '.join(fault.what for fault in faults)}."


def _known(faults: list[KnownBad]) -> dict[str, object]:
    return {"known_faults": [fault.id for fault in faults]} if faults else {}


def _device(evidence: Evidence) -> str | None:
    return evidence.environment.device if evidence.environment else None


def _num_ranks(evidence: Evidence) -> int | None:
    return evidence.candidate.num_ranks if evidence.candidate else None

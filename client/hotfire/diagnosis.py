"""`hotfire.diagnose()`: the run rules over the log of a job that already failed. Offline."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hotfire import logs, static, wire
from hotfire import spec as specs
from hotfire._document import read_document
from hotfire.dsconfig.effective import precision, zero_stage
from hotfire.rules.engine import Rule, judge
from hotfire.rules.evidence import Cluster, Evidence, Finding, Fix, Judgement, Severity, Trial, Verdict
from hotfire.rules.run.log_causes import LikelyCause, Reading, read_log
from hotfire.rules.run.outcome import outcome_of
from hotfire.v1 import preflight_pb2, report_pb2, spec_pb2

_ONLY = ("run", "config")
_ONLY_REASON = "a log does not tell; it takes a preflight (hotfire check)"
#: Rules that speak of what `read_log` explains.
_EXPLAINED = ("R101", "R102", "R103", "R104", "R105", "R110")
_OF_A_LOG = "a log can be read, not run"
_MAX_STEPS_SHOWN = 2000


@dataclasses.dataclass(kw_only=True, slots=True)
class Diagnosis:
    """What a log says, and what it does not.

    Attributes:
        log: The log as it was read.
        evidence: What the rules were given.
        judgement: What they said.
        reading: The likely causes in order, and what the log speaks against.
        loaded: The spec, where one was given.
    """

    log: logs.JobLog
    evidence: Evidence
    judgement: Judgement
    reading: Reading
    loaded: specs.LoadedSpec | None = None

    @property
    def verdict(self) -> Verdict:
        """FAIL: the log shows that it did not train."""
        return self.judgement.verdict

    @property
    def headline(self) -> str:
        """One sentence."""
        return self.judgement.headline

    @property
    def findings(self) -> list[Finding]:
        """Causes before symptoms."""
        return self.judgement.findings

    @property
    def causes(self) -> list[LikelyCause]:
        """The likely causes, the likeliest first, each with the experiment that decides."""
        return self.reading.causes

    def preflight(self) -> preflight_pb2.Preflight:
        """The shell around the report that the renderers take."""
        report = wire.record_to_message(self.judgement, report_pb2.Report)
        trial = self.evidence.candidate
        if trial is not None:
            report.trials.append(wire.record_to_message(_shown(trial), report_pb2.Trial))
        record = preflight_pb2.Preflight(report=report)
        if self.loaded is not None:
            record.spec.CopyFrom(self.loaded.spec)
        return record

    def to_dict(self) -> dict[str, Any]:
        """`{verdict, headline, findings, checks, causes, excluded, log}`, as `--format json` prints it."""
        report = wire.message_to_dict(wire.record_to_message(self.judgement, report_pb2.Report))
        log = self.log
        losses = [entry.loss for entry in log.entries]
        return {
            **{name: report.get(name) for name in ("verdict", "headline", "findings", "checks")},
            "causes": [
                {"cause": c.cause, "why": c.why, "decided_by": c.decided_by, "known_faults": list(c.versions)}
                for c in self.causes
            ],
            "excluded": list(self.reading.excluded),
            "log": {
                "file": log.name,
                "format": log.format,
                "num_entries": len(log.entries),
                "num_skipped_steps": log.num_overflows,
                "first_loss": _json_number(losses[0]) if losses else None,
                "last_loss": _json_number(losses[-1]) if losses else None,
                "global_step": log.global_step,
                "max_steps": log.max_steps,
                "finished": log.finished,
                "versions": dict(log.versions),
                "notes": list(log.notes),
            },
        }


def diagnose(
    file: str | os.PathLike[str],
    *,
    spec: str
    | os.PathLike[str]
    | Mapping[str, Any]
    | spec_pb2.PreflightSpec
    | specs.LoadedSpec
    | None = None,
) -> Diagnosis:
    """Reads the log of a job that already ran, and says what the run rules see in it.

    A log proves little: numbers that are not in it are unknown, and the rules that need them are SKIPPED. What is
    wrong comes with its likely causes in order and the experiment that decides between them.

    Args:
        file: `trainer_state.json`, JSON lines, the text that the job printed (each also `.gz`), or the job's folder.
        spec: The job's spec, or its DeepSpeed config alone: the config rules then run, too.

    Raises:
        SettingsError: The log cannot be read, or is none.
        SpecError: The spec is wrong.
    """
    log = logs.read(Path(file))
    loaded = _load(spec) if spec is not None else None
    evidence = _evidence(log, loaded)
    trial = evidence.candidate
    assert trial is not None
    trial.outcome, trial.reason = outcome_of(trial, evidence)
    judgement = judge(evidence, only=_is_of_a_log, only_reason=_ONLY_REASON)
    reading = read_log(evidence)
    _explain(judgement, reading, has_spec=loaded is not None)
    return Diagnosis(log=log, evidence=evidence, judgement=judgement, reading=reading, loaded=loaded)


def _is_of_a_log(rule: Rule) -> bool:
    return rule.category in _ONLY


def _load(spec: Any) -> specs.LoadedSpec:
    """A spec, or a spec around a bare DeepSpeed config; model and data may be absent."""
    if isinstance(spec, str | os.PathLike):
        path = Path(spec).expanduser()
        if path.suffix.lower() not in (".yaml", ".yml") and path.is_file():
            document = read_document(
                path.read_text(encoding="utf-8-sig", errors="replace"), path=Path("spec.json")
            )
            if not specs.looks_like_spec(document.data):
                return specs.load({"deepspeed": str(path.absolute())}, required=())
        return specs.load(path, required=())
    return specs.load(spec, required=())


def _evidence(log: logs.JobLog, loaded: specs.LoadedSpec | None) -> Evidence:
    evidence = Evidence()
    if loaded is not None:
        # A job that has run had somebody who resolved its "auto".
        evidence = static.job_evidence(loaded.spec)
        evidence.plan = None
        if evidence.config is not None and evidence.config.given is None and not evidence.config.problems:
            evidence.config = None
    dtype, stage = _of_config(evidence)
    versions = dict(log.versions)
    if evidence.cluster is not None:
        versions |= evidence.cluster.versions
        evidence.cluster = dataclasses.replace(evidence.cluster, versions=versions)
    elif versions:
        evidence.cluster = Cluster(versions=versions)
    evidence.trials = [logs.as_trial(log, dtype=dtype, stage=stage)]
    if log.max_steps is not None:
        evidence.trials[0].facts["total_steps"] = log.max_steps
    return evidence


def _of_config(evidence: Evidence) -> tuple[str | None, int | None]:
    config = evidence.config.effective if evidence.config is not None else None
    if config is None:
        training = evidence.training or {}
        return next((name for name in ("bf16", "fp16") if training.get(name)), None), None
    return precision(config), zero_stage(config)


def _explain(judgement: Judgement, reading: Reading, *, has_spec: bool) -> None:
    """Puts the likely causes where every format shows them: at the finding that they explain."""
    for finding in judgement.findings:
        for fix in (finding.fix, *finding.alternatives):
            if fix is not None:
                fix.reason = fix.reason or _OF_A_LOG
                if not has_spec:
                    fix.patch = []  # into a document that nobody has seen
    first = next((f for f in judgement.findings if f.rule_id in _EXPLAINED), None)
    if first is None or not reading.causes:
        return
    likeliest, *others = reading.causes
    first.evidence["likely_causes"] = [c.cause for c in reading.causes]
    first.evidence["excluded"] = list(reading.excluded)
    first.fix, *first.alternatives = [
        Fix(description=f"{c.cause}: {c.why}. To decide: {c.decided_by}.", reason=_OF_A_LOG)
        for c in reading.causes
    ]
    if judgement.findings[0] is first and first.severity is Severity.ERROR:
        then = f", then {', '.join(c.cause for c in others)}" if others else ""
        what, skipped, rest = judgement.headline.partition(" (")
        if not rest.endswith("checks skipped)."):
            what, skipped, rest = judgement.headline.rstrip("."), "", "."
        judgement.headline = (
            f"{what}; likely cause: {likeliest.cause}{then}; hotfire check decides{skipped}{rest}"
        )


def _shown(trial: Trial) -> Trial:
    """The trial with its curve thinned out: every format draws it, none lists it. The ends stay."""
    if len(trial.steps) <= _MAX_STEPS_SHOWN:
        return trial
    every = -(-len(trial.steps) // _MAX_STEPS_SHOWN)
    return dataclasses.replace(trial, steps=[*trial.steps[:-1:every], trial.steps[-1]])


def _json_number(value: float | None) -> float | str | None:
    """Non-finite numbers as the wire has them."""
    if value is None or (value == value and abs(value) != float("inf")):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


__all__ = ["Diagnosis", "diagnose"]

"""The way of one preflight, from the spec to the report. No Celery and no Redis in here.

Everything that is wrong with the job becomes a finding. What this raises is our own failure, or the wish to stop.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from hotfire import wire
from hotfire.patch import PatchError
from hotfire.rules.engine import Rule, judge
from hotfire.rules.evidence import (
    Adaptation,
    Environment,
    Evidence,
    Finding,
    Fix,
    Judgement,
    PatchOperation,
    Plan,
    Role,
    Search,
    Trial,
    TrialRequest,
)
from hotfire.rules.verdict import headline_of
from hotfire.v1 import report_pb2, spec_pb2
from hotfire.wire import WireError
from hotfire_service.store import ArtifactStore
from hotfire_workers import environment, events, fixes, report, rowviews
from hotfire_workers.adapt import Adapted, adapt
from hotfire_workers.budget import Budget
from hotfire_workers.diagnosis import Diagnosis
from hotfire_workers.environment import WorkerFacts
from hotfire_workers.events import Sink
from hotfire_workers.job import CANNOT_START, Job, blocking, job_of, merged, patched
from hotfire_workers.plan import Planner
from hotfire_workers.prepare import Prepared, Preparer
from hotfire_workers.redact import RedactedSink, Redactor
from hotfire_workers.resolve import Resolver
from hotfire_workers.rundir import run_dir
from hotfire_workers.runner.base import Runner
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.slots import Slot, find_slots
from hotfire_workers.trials import Stand
from hotfire_workers.tries import Bench

_LATER_PARTS = ("model", "data", "trials", "environment")


def run_preflight(
    spec: spec_pb2.PreflightSpec,
    *,
    runner: Runner,
    sink: Sink,
    slot: Slot | None = None,
    settings: WorkerSettings | None = None,
    artifacts: ArtifactStore | None = None,
    tenant: str = "default",
    facts: WorkerFacts | None = None,
) -> report_pb2.Report:
    """Runs one preflight and returns its report.

    Args:
        spec: What was submitted.
        runner: Runs preparation and trials.
        sink: Takes events; says when to stop.
        slot: What may be used; default: the first that the settings give.
        settings: What is allowed; default: from the environment.
        artifacts: Where uploads lie.
        tenant: Whose uploads.
        facts: Of the training environment.

    Raises:
        Stopped: The sink wanted an end; no process of a trial is left.
        RunnerError: The runner failed.
        ArtifactError: An artifact of the spec is gone or broken.
    """
    settings = settings or WorkerSettings()
    with run_dir(settings.cache_dir) as folder:
        return _Preflight(
            spec=spec,
            runner=runner,
            sink=sink,
            slot=slot or find_slots(settings)[0],
            settings=settings,
            resolver=Resolver(run_dir=folder, settings=settings, artifacts=artifacts, tenant=tenant),
            facts=facts or WorkerFacts(),
            run_dir=folder,
        ).run()


class _Preflight:
    def __init__(
        self,
        *,
        spec: spec_pb2.PreflightSpec,
        runner: Runner,
        sink: Sink,
        slot: Slot,
        settings: WorkerSettings,
        resolver: Resolver,
        facts: WorkerFacts,
        run_dir: Path,
    ) -> None:
        self._redactor = Redactor(redact=spec.data.redact or settings.redact)
        self._sink = RedactedSink(sink, self._redactor)
        self._slot, self._settings, self._facts = slot, settings, facts
        self._job = job_of(spec)
        self._plan = self._job.evidence.plan or Plan()
        self._budget = Budget(self._plan.time_budget_s)
        self._stand = Stand(runner=runner, sink=self._sink, budget=self._budget)
        self._planner = Planner(run_dir=run_dir, slot=slot, settings=settings, libraries=facts.libraries)
        self._preparer = Preparer(
            runner=runner,
            resolver=resolver,
            slot=slot,
            settings=settings,
            run_dir=run_dir,
            budget=self._budget,
            should_stop=self._stand.should_stop,
        )
        self._adapted: Adapted | None = None
        self._prepared: Prepared | None = None
        self._told: set[str] = set()

    # --- The way ------------------------------------------------------------------------------------------

    def run(self) -> report_pb2.Report:
        static = judge(self._job.evidence, only=_in("config"))
        self._tell(static)
        stops = blocking(static)
        base = merged([f.fix.patch for f in stops if f.fix is not None])
        cannot_start = bool(stops) or self._job.given is None
        if cannot_start and (why := self._nothing_to_try(stops)):
            return self._finish_at_once(why)
        self._prepare(base)
        if cannot_start:
            self._leave_out(CANNOT_START)
        elif self._prepared is not None and self._prepared.problem is not None:
            self._leave_out(self._prepared.problem)
        else:
            self._run_main_trials()
        diagnosis = self._diagnosis(base, stops)
        diagnosis.run()
        return self._finish(diagnosis)

    def _nothing_to_try(self, stops: list[Finding]) -> str | None:
        """Why no patched job can be run; None: one can."""
        if not self._plan.verify_fixes:
            return f"{CANNOT_START}, and plan.verify_fixes is false"
        without = sorted({f.rule for f in stops if f.fix is None or not f.fix.patch})
        if without:
            return f"{CANNOT_START}, and there is no patch to try for {', '.join(without)}"
        return CANNOT_START if self._job.given is None else None

    def _finish_at_once(self, why: str) -> report_pb2.Report:
        evidence = dataclasses.replace(
            self._job.evidence, unavailable=dict.fromkeys(_LATER_PARTS, CANNOT_START)
        )
        judgement = judge(evidence)
        fixes.all_not_tried(judgement.findings, why)
        return report.build(judgement, evidence, redactor=self._redactor)

    def _prepare(self, base: list[PatchOperation]) -> None:
        self._sink.append(events.progress("prepare", "reading the model and tokenising the sample"))
        self._budget.start()
        job = self._runnable(base)
        self._adapted = adapt(job, self._slot) if job is not None else None
        self._prepared = self._preparer.prepare(self._job, self._adapted)
        self._stand.check_stopped()
        self._redactor.learn(self._prepared.texts_path)
        if self._prepared.facts is not None and self._prepared.facts.config:
            self._job = job_of(self._job.spec, model_config=self._prepared.facts.config)
        self._tell(judge(self._evidence(trials=None), only=_in("model", "data")))

    def _runnable(self, base: list[PatchOperation]) -> Job | None:
        """The job with what keeps it from starting patched away; None if that patch does not fit."""
        if not base:
            return self._job
        try:
            return patched(self._job, base)
        except (PatchError, WireError):
            return None

    def _leave_out(self, reason: str) -> None:
        self._stand.not_run(Trial(name="candidate", role=Role.CANDIDATE), reason)

    def _run_main_trials(self) -> None:
        evidence = self._evidence(trials=None)
        for role in (Role.CANDIDATE, Role.REFERENCE):
            self._stand.run(self._main_request(role), evidence=evidence, adaptations=self._adaptations())

    def _main_request(self, role: Role) -> TrialRequest:
        assert self._adapted is not None
        assert self._prepared is not None
        return self._planner.request(
            self._job, self._adapted, self._prepared, name=role.value.lower(), role=role
        )

    def _adaptations(self) -> list[Adaptation]:
        assert self._adapted is not None
        return environment.adaptations(self._adapted, self._prepared)

    # --- When something is wrong --------------------------------------------------------------------------

    def _diagnosis(self, base: list[PatchOperation], stops: list[Finding]) -> Diagnosis:
        bench = Bench(
            job=self._job,
            stand=self._stand,
            planner=self._planner,
            preparer=self._preparer,
            complete=self._complete,
        )
        if self._prepared is not None and self._prepared.facts is not None:
            bench.model_config = self._prepared.facts.config or None
        return Diagnosis(
            bench=bench,
            adapted=self._adapted,
            request_of=self._main_request,
            evidence_of=lambda trials, search: self._evidence(trials=trials, search=search),
            settings=self._settings,
            tell=self._tell,
            base=base,
            blocking=stops,
        )

    # --- The end ------------------------------------------------------------------------------------------

    def _finish(self, diagnosis: Diagnosis) -> report_pb2.Report:
        self._sink.append(events.progress("report"))
        evidence = self._evidence(trials=self._stand.trials, search=diagnosis.search)
        verifier = diagnosis.verifier
        judgement = judge(evidence)
        results = verifier.results if verifier else {}
        otherwise = (
            "plan.verify_fixes is false" if verifier is None else "it was proposed after the trials were over"
        )
        recommendation: Fix | None = verifier.recommendation if verifier else None
        fixes.apply_results(judgement.findings, results, otherwise=otherwise)
        # What was tried belongs into the one sentence.
        judgement = rephrased(evidence, judgement)
        self._tell(judgement)
        rows = (
            rowviews.wanted(self._prepared.folder, self._stand.trials, judgement.findings)
            if self._prepared is not None
            else []
        )
        result = report.build(
            judgement,
            evidence,
            recommendation=recommendation,
            redactor=self._redactor,
            named_rows=rowviews.first_named(rows, judgement.findings),
        )
        self._sink.put_rows(wire.record_to_message(row, report_pb2.Sample) for row in rows)
        return result

    def _evidence(self, *, trials: list[Trial] | None, search: Search | None = None) -> Evidence:
        assert self._prepared is not None
        evidence = self._complete(self._job, self._prepared)
        ordered = None if trials is None else report.candidate_first(trials)
        return dataclasses.replace(evidence, trials=ordered, search=search)

    def _complete(self, job: Job, prepared: Prepared) -> Evidence:
        """The job's evidence with model, data and environment."""
        return dataclasses.replace(
            job.evidence,
            model=prepared.facts,
            data=prepared.data,
            environment=self._environment(),
            unavailable=dict(prepared.unavailable),
        )

    def _environment(self) -> Environment:
        return environment.describe(
            self._facts,
            slot=self._slot,
            budget=self._budget,
            trials=self._stand.trials,
            job=self._job,
            adapted=self._adapted,
            prepared=self._prepared,
        )

    def _tell(self, judgement: Judgement) -> None:
        """Each finding once, as soon as it is known."""
        for finding in judgement.findings:
            key = json.dumps(
                [finding.rule, dataclasses.asdict(finding.location) if finding.location else None]
            )
            if key not in self._told:
                self._told.add(key)
                self._sink.append(events.finding(self._redactor.finding(finding)))


def rephrased(evidence: Evidence, judgement: Judgement) -> Judgement:
    """The same judgement, its sentence made anew: now it is known what became of the fixes."""
    headline = headline_of(evidence, judgement.verdict, judgement.findings, judgement.checks)
    return dataclasses.replace(judgement, headline=headline)


def _in(*categories: str) -> Callable[[Rule], bool]:
    return lambda rule: rule.category in categories

"""When something is wrong: which trials are made after candidate and reference, and in which order.

A surprising outcome is repeated before it is believed. Then the other ZeRO stages, the fixes that rules propose,
what can be offloaded, and the search for guilty keys. Where the run without DeepSpeed fails too, fixes come first:
they tell more than other stages do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hotfire.dsconfig.states import offload_of
from hotfire.rules.engine import judge
from hotfire.rules.evidence import (
    Evidence,
    Finding,
    Guilty,
    Judgement,
    PatchOperation,
    Plan,
    Role,
    Search,
    Trial,
    TrialOutcome,
    TrialRequest,
)
from hotfire.rules.zero.compare import compare
from hotfire.rules.zero.verdict import ZeroVerdict, zero_verdict
from hotfire_workers import events, plan
from hotfire_workers.adapt import Adapted
from hotfire_workers.bisect import Bisection
from hotfire_workers.fixes import Verifier
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.trials import Stand
from hotfire_workers.tries import Bench, Tried

#: Repeated, these would only cost the same time once more.
_NOT_REPEATED = (TrialOutcome.HUNG, TrialOutcome.OUT_OF_MEMORY, TrialOutcome.NOT_EXERCISED)


@dataclass(kw_only=True, slots=True)
class Diagnosis:
    """Finds out what is wrong with one job, by trials.

    Attributes:
        bench: Tries patches on the job; its stand has candidate and reference, if they could be run.
        adapted: The job as it ran; None: it could not be run.
        request_of: The request of one of the main trials.
        evidence_of: The evidence with these trials and what the search for keys came to.
        settings: Limits.
        tell: Takes the findings so far.
        base: What every patch is put on: the patches of what keeps the config from starting.
        blocking: The findings that these cure.
    """

    bench: Bench
    adapted: Adapted | None
    request_of: Callable[[Role], TrialRequest]
    evidence_of: Callable[[list[Trial], Search | None], Evidence]
    settings: WorkerSettings
    tell: Callable[[Judgement], None]
    base: list[PatchOperation] = field(default_factory=list)
    blocking: list[Finding] = field(default_factory=list)
    search: Search | None = None
    verifier: Verifier | None = None

    @property
    def _stand(self) -> Stand:
        return self.bench.stand

    @property
    def _plan(self) -> Plan:
        return self.bench.job.evidence.plan or Plan()

    def run(self) -> None:
        """Makes the trials; `verifier` and `search` have what came of them.

        Raises:
            Stopped: The sink wanted an end.
            RunnerError: The runner failed.
        """
        self._know_reference()
        fails_alike = self._fails_without_deepspeed()
        if not fails_alike:
            self._repeat_candidate()
            self._run_stages()
        self._verify()
        if fails_alike:
            self._run_stages()
        self._run_offloads()
        self._bisect()
        self._prefer_what_is_guilty()

    # --- What is known so far -----------------------------------------------------------------------------

    def _ran(self, role: Role) -> Trial | None:
        trial = next((t for t in self._stand.trials if t.role is role), None)
        return None if trial is None or trial.outcome is TrialOutcome.NOT_EXERCISED else trial

    def _fails_without_deepspeed(self) -> bool:
        """Candidate and reference both fail."""
        candidate, reference = self._ran(Role.CANDIDATE), self._ran(Role.REFERENCE)
        return (
            candidate is not None
            and reference is not None
            and TrialOutcome.TRAINS not in (candidate.outcome, reference.outcome)
        )

    @property
    def _is_wrong(self) -> bool:
        candidate, reference = self._ran(Role.CANDIDATE), self._ran(Role.REFERENCE)
        if candidate is None:
            return False
        if candidate.outcome is not TrialOutcome.TRAINS:
            return True
        return reference is not None and compare(candidate, reference).agrees is False

    def _know_reference(self) -> None:
        reference = self._ran(Role.REFERENCE)
        if reference is None:
            return
        self.bench.reference = reference
        self.bench.reference_key = plan.reference_key(self.request_of(Role.REFERENCE))
        self.bench.compares = reference.outcome is TrialOutcome.TRAINS and self._is_wrong

    def _verdict(self) -> ZeroVerdict:
        return zero_verdict(self.evidence_of(self._stand.trials, self.search))

    # --- The trials ---------------------------------------------------------------------------------------

    def _repeat_candidate(self) -> None:
        """The same again: an outcome that comes and goes is not the config's."""
        candidate = self._ran(Role.CANDIDATE)
        if candidate is not None and self.bench.compares and candidate.outcome not in _NOT_REPEATED:
            self._repeat(candidate, self.request_of(Role.CANDIDATE), self.evidence_of([], None))

    def _repeat(self, trial: Trial, request: TrialRequest, evidence: Evidence) -> None:
        name = f"{trial.name}-again"
        run_dir = str(Path(request.run_dir).with_name(name))
        request = dataclasses.replace(request, name=name, role=Role.BISECT.value, run_dir=run_dir)
        self._stand.run(
            request,
            evidence=evidence,
            patch=trial.patch,
            adaptations=trial.adaptations,
            repeats=trial.name,
        )

    def _run_stages(self) -> None:
        if self._ran(Role.CANDIDATE) is None or self.adapted is None:
            return
        document = self.bench.job.evidence.spec
        for stage in plan.stages_to_compare(self._plan, self.adapted.stage, is_wrong=self._is_wrong):
            self._try_stage(plan.stage_patch(document, stage), f"stage-{stage}", stage)

    def _run_offloads(self) -> None:
        """Offload variants, where ZeRO is suspected and no plain stage is the answer."""
        if not self.bench.compares or self.adapted is None or not self._plan.bisect:
            return
        document, submitted = self.bench.job.evidence.spec, self.adapted.stage
        given = offload_of((document.get("deepspeed") or {}).get("zero_optimization"))
        cured = self._verdict().guilty in (Guilty.STAGE, Guilty.KEYS, Guilty.VERSION)
        if given is None and cured:
            return
        for variant in plan.offload_variants(document, submitted, given, more=not cured):
            self._try_stage(variant.patch, variant.name, variant.stage)

    def _try_stage(self, patch: list[PatchOperation], name: str, stage: int) -> None:
        tried = self.bench.try_patch(patch, role=Role.STAGE, name=name)
        if tried.trial is None:
            trial = Trial(name=name, role=Role.STAGE, patch=patch, stage=stage)
            self._stand.not_run(trial, tried.reason)

    def _verify(self) -> None:
        self._stand.sink.append(events.progress("rules"))
        judgement = judge(self.evidence_of(self._stand.trials, None))
        self.tell(judgement)
        if not self._plan.verify_fixes:
            return
        self._stand.sink.append(events.progress("fixes"))
        candidate = self._ran(Role.CANDIDATE)
        self.verifier = Verifier(
            bench=self.bench,
            findings=judgement.findings,
            base=self.base,
            blocking=self.blocking,
            candidate_trains=candidate is not None and candidate.outcome is TrialOutcome.TRAINS,
            max_trials=self.settings.max_fix_trials,
        )
        self.verifier.run()

    def _bisect(self) -> None:
        """Looks for guilty keys where ZeRO is suspected; where a fix has found one, for what belongs to it."""
        if not (self._plan.bisect and self.bench.compares):
            return
        verdict = self._verdict()
        if verdict.guilty not in (Guilty.STAGE, Guilty.KEYS, Guilty.UNKNOWN) or verdict.unstable:
            return
        is_single = verdict.guilty is Guilty.KEYS and len(verdict.guilty_keys) == 1
        known = self.bench.known(verdict.recommended_patch) if is_single else None
        self._stand.sink.append(events.progress("trial", "looking for the guilty keys"))
        found = Bisection(self.bench, max_trials=self.settings.max_bisect_trials).run(known)
        if found is None:
            return
        self.search = found.search
        if found.tried is not None and found.tried is not known:
            self._confirm(found.tried)

    def _confirm(self, tried: Tried) -> None:
        """The cure once more, before it is recommended."""
        if tried.trial is None or tried.request is None or tried.evidence is None:
            return
        self._repeat(tried.trial, tried.request, tried.evidence)
        if self.verifier is not None and not self._verdict().unstable:
            self.verifier.consider(tried)

    def _prefer_what_is_guilty(self) -> None:
        """Of cures of one size, the one that takes away what is guilty is recommended."""
        verdict = self._verdict()
        if self.verifier is None or verdict.guilty not in (Guilty.STAGE, Guilty.VERSION):
            return
        tried = self.bench.known(verdict.recommended_patch)
        if tried is not None:
            self.verifier.consider(tried, is_preferred=True)

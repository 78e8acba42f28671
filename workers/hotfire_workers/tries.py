"""One proposed patch, tried: applied, prepared, run, and judged as if it had been submitted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hotfire.patch import PatchError
from hotfire.rules.engine import judge
from hotfire.rules.evidence import (
    Cluster,
    Evidence,
    Finding,
    PatchOperation,
    Role,
    Severity,
    Trial,
    TrialOutcome,
    TrialRequest,
)
from hotfire.rules.remedy import describe_patch
from hotfire.rules.wording import first_sentence
from hotfire.wire import WireError
from hotfire_workers import environment
from hotfire_workers.adapt import Adapted, adapt
from hotfire_workers.events import progress
from hotfire_workers.job import CANNOT_START, Job, blocking, patch_key, patched
from hotfire_workers.plan import Planner, reference_key
from hotfire_workers.prepare import Prepared, Preparer
from hotfire_workers.trials import BUDGET_SPENT, Stand, as_candidate

FindingKey = tuple[str, str | None]


def finding_key(finding: Finding) -> FindingKey:
    """Two findings with the same key speak of the same fault, before and after a patch."""
    return finding.rule, finding.location.config_path if finding.location else None


@dataclass(kw_only=True, slots=True)
class Tried:
    """What became of a patch."""

    patch: list[PatchOperation]
    trial: Trial | None = None
    """None: it was not run, and `reason` says why."""
    request: TrialRequest | None = None
    """What was run."""
    evidence: Evidence | None = None
    """The patched job, without trials."""
    findings: list[Finding] = field(default_factory=list)
    """What the rules say of the patched job."""
    reason: str = ""

    @property
    def trains(self) -> bool:
        """It ran, and no run rule has an ERROR."""
        return self.trial is not None and self.trial.outcome is TrialOutcome.TRAINS

    @property
    def was_run(self) -> bool:
        """There is something to conclude from."""
        return self.trial is not None and self.trial.outcome is not TrialOutcome.NOT_EXERCISED

    @property
    def errors(self) -> list[Finding]:
        """The ERRORs of the patched job."""
        return [f for f in self.findings if f.severity is Severity.ERROR]

    @property
    def cures_zero(self) -> bool:
        """The patched job trains, and not otherwise than without DeepSpeed."""
        return self.trains and not any(f.rule_id in ("Z102", "Z103") for f in self.errors)

    @property
    def cures_all(self) -> bool:
        """The patched job trains and has no ERROR of any rule."""
        return self.trains and not self.errors

    def has(self, finding: Finding) -> bool:
        """The fault is still there, as bad as an error or a warning."""
        return any(
            finding_key(f) == finding_key(finding) and f.severity is not Severity.INFO for f in self.findings
        )


@dataclass(kw_only=True, slots=True)
class Bench:
    """Tries patches on one job.

    Attributes:
        job: As submitted.
        stand: Runs the trials.
        planner: Makes the requests.
        preparer: Prepares what a patch of model, data or arguments changes.
        complete: Adds model, data and environment to the evidence of a patched job.
    """

    job: Job
    stand: Stand
    planner: Planner
    preparer: Preparer
    complete: Callable[[Job, Prepared], Evidence]
    reference: Trial | None = None
    """The run without DeepSpeed of the job as submitted."""
    reference_key: str | None = None
    """What it depends on."""
    model_config: dict[str, Any] | None = None
    """The model's config.json, where it is known."""
    compares: bool = False
    """The candidate is worse than the reference: a patched job is compared with one, too."""
    num_tried: int = 0
    _tried: dict[str, Tried] = field(default_factory=dict)

    def try_patch(
        self, patch: Sequence[PatchOperation], *, role: Role = Role.FIX, name: str | None = None
    ) -> Tried:
        """Tries a patch, or answers with what an equal one did.

        Raises:
            Stopped: The sink wanted an end.
            RunnerError: The runner failed.
        """
        key = patch_key(patch)
        if key not in self._tried:
            self._tried[key] = self._try(list(patch), role, name)
        return self._tried[key]

    def known(self, patch: Sequence[PatchOperation]) -> Tried | None:
        """What became of the patch, if it was tried."""
        return self._tried.get(patch_key(patch))

    def _try(self, patch: list[PatchOperation], role: Role, name: str | None) -> Tried:
        tried = Tried(patch=patch)
        try:
            job = patched(self.job, patch, model_config=self.model_config)
        except (PatchError, WireError) as error:
            tried.reason = f"the patch does not fit the spec: {error}"
            return tried
        if lack := self._lacking_version(job):
            tried.reason = lack
            return tried
        static = judge(job.evidence, only=lambda rule: rule.category == "config")
        if job.given is None or (stops := blocking(static)):
            tried.findings = static.findings
            why = "" if job.given is None else f": {first_sentence(stops[0].message)}"
            tried.reason = f"with it {CANNOT_START}{why}"
            return tried
        if not self.stand.budget.allows_another():
            self.stand.budget.missed(name or "fix trials")
            tried.reason = BUDGET_SPENT
            return tried
        adapted = adapt(job, self.planner.slot)
        if role is Role.FIX:
            self.stand.sink.append(progress("fixes", _words(patch)))
        prepared = self.preparer.prepare(job, adapted)
        evidence = self.complete(job, prepared)
        if prepared.problem is not None:
            tried.findings = judge(dataclasses.replace(evidence, trials=None)).findings
            tried.reason = f"with it {prepared.problem}"
            return tried
        request = self.planner.request(job, adapted, prepared, name=name or "", role=role)
        trial = self.stand.earlier(request)
        if trial is None:
            self.num_tried += role is Role.FIX
            request = self.planner.request(
                job, adapted, prepared, name=name or f"fix-{self.num_tried}", role=role
            )
            trial = self.stand.run(
                request,
                evidence=evidence,
                patch=[*self.job.patch, *patch],
                adaptations=environment.adaptations(adapted, prepared),
            )
        tried.trial, tried.request, tried.evidence = trial, request, evidence
        tried.reason = trial.reason or ""
        trials = [as_candidate(trial)]
        if (reference := self._reference(job, adapted, prepared, evidence, trial)) is not None:
            trials.append(reference)
            trial.compared_with = reference.name if reference is not self.reference else None
        tried.findings = judge(dataclasses.replace(evidence, trials=trials)).findings
        return tried

    def _lacking_version(self, job: Job) -> str | None:
        """A version that the patched job names otherwise than the job, and that cannot be run here."""
        before, after = ((j.evidence.cluster or Cluster()).versions for j in (self.job, job))
        changed = {name: version for name, version in after.items() if before.get(name) != version}
        return self.planner.libraries.lack(after, changed)

    def _reference(
        self, job: Job, adapted: Adapted, prepared: Prepared, evidence: Evidence, trial: Trial
    ) -> Trial | None:
        """What to compare a patched job with: the reference of the job, if the patch leaves it as it is."""
        if self.reference is None:
            return None
        name = f"reference-{trial.name}"
        request = self.planner.request(job, adapted, prepared, name=name, role=Role.REFERENCE)
        if reference_key(request) == self.reference_key:
            return self.reference
        if not self.compares or trial.outcome is not TrialOutcome.TRAINS:
            return None
        reference = self.stand.earlier(request)
        if reference is None:
            reference = self.stand.run(
                request, evidence=evidence, adaptations=environment.adaptations(adapted, prepared)
            )
        return reference if reference.outcome is not TrialOutcome.NOT_EXERCISED else None


def _words(patch: Sequence[PatchOperation]) -> str:
    return f"trying {describe_patch(list(patch))}"

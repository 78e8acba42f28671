"""Every proposed patch is applied and run; what comes of it stands in the fix, and the smallest cure is recommended.

Order: the errors' fixes one by one, the least change first. If none of them alone makes the job healthy, one fix of
every error together, and then without each that turns out not to be needed. Then the warnings' fixes, on top of what
cures the job. A job whose config cannot start is tried with the patches of all blocking findings under everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hotfire.rules.evidence import Finding, Fix, PatchOperation, Severity, Verification
from hotfire.rules.remedy import describe_patch
from hotfire.rules.wording import clause, first_sentence, listed
from hotfire_workers.job import merged, patch_key
from hotfire_workers.tries import Bench, Tried, finding_key

_WEIGHT_OF_SECTION = {"deepspeed": 0, "training": 1, "data": 2, "model": 3, "cluster": 4}
_NOT_A_PATCH = "it is no change of the spec, so that it cannot be tried here"
_ONLY_ERRORS = "only fixes of errors and warnings are tried"

FixKey = tuple[str, str | None, str]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one fix of one finding."""

    verification: Verification
    trial: str | None = None
    reason: str | None = None


@dataclass(kw_only=True, slots=True)
class Proposal:
    """A fix of a finding that has a patch."""

    finding: Finding
    fix: Fix
    is_primary: bool

    @property
    def key(self) -> FixKey:
        """The fix, in this and in any later judgement."""
        return fix_key(self.finding, self.fix)

    @property
    def effort(self) -> tuple[bool, int, int]:
        """The least change first; a finding's own fix before its alternatives."""
        sections = [_WEIGHT_OF_SECTION.get(o.path.split("/")[1], 5) for o in self.fix.patch]
        return not self.is_primary, len(self.fix.patch), max(sections, default=0)


def fix_key(finding: Finding, fix: Fix) -> FixKey:
    """Names a fix by what it cures and how."""
    rule, path = finding_key(finding)
    return rule, path, patch_key(fix.patch)


@dataclass(kw_only=True, slots=True)
class Verifier:
    """Tries the fixes of the findings of one job.

    Attributes:
        bench: Tries a patch.
        findings: Of the job as submitted.
        base: What every patch is put on: the patches of what keeps the config from starting.
        candidate_trains: The job as submitted trains.
        max_trials: Stop after so many.
    """

    bench: Bench
    findings: Sequence[Finding]
    base: list[PatchOperation] = field(default_factory=list)
    blocking: Sequence[Finding] = ()
    candidate_trains: bool = False
    max_trials: int = 16
    results: dict[FixKey, Result] = field(default_factory=dict)
    recommendation: Fix | None = None

    def run(self) -> None:
        """Fills in `results` and `recommendation`."""
        whole = self._try_base()
        errors = self._proposals(Severity.ERROR)
        singles = [(p, self._try_single(p)) for p in errors]
        cures = [tried for _, tried in singles if tried is not None and tried.cures_all]
        if whole is None or not whole.cures_all:
            whole = min(cures, key=lambda t: len(t.patch), default=None) or self._together(singles)
        top = [] if self.candidate_trains and whole is None else (whole.patch if whole else self.base)
        for proposal in self._proposals(Severity.WARNING):
            self._try_single(proposal, on=top, is_cured=whole is not None or self.candidate_trains)
        if whole is not None:
            self.recommendation = self._recommend(whole)

    def consider(self, tried: Tried, *, is_preferred: bool = False) -> None:
        """A patch that was found otherwise: recommended, if it cures the job and nothing smaller did.

        Args:
            tried: What became of it.
            is_preferred: It is the better one of its size.
        """
        known = self.recommendation
        limit = None if known is None else len(known.patch) - (not is_preferred)
        if tried.cures_all and (limit is None or len(tried.patch) <= limit):
            self.recommendation = self._recommend(tried)

    def _try_base(self) -> Tried | None:
        """The patches of all that keeps the config from starting, together: alone, none of them can run."""
        if not self.base:
            return None
        tried = self.bench.try_patch(self.base)
        for finding in self.blocking:
            if finding.fix is not None and finding.fix.patch:
                others = len(self.base) > len(finding.fix.patch)
                self._conclude(
                    finding, finding.fix, tried, note=self._with_others(finding) if others else None
                )
        return tried

    def _with_others(self, finding: Finding) -> str:
        others = dict.fromkeys(f.rule for f in self.blocking if f is not finding)
        return f"together with the fix of {listed(others)}" if others else ""

    def _proposals(self, severity: Severity) -> list[Proposal]:
        found: dict[FixKey, Proposal] = {}
        for finding in self.findings:
            if finding.severity is not severity:
                continue
            for fix in (finding.fix, *finding.alternatives):
                # One that a rule has already seen work is tried as well: on its own trial, which is there.
                if fix is None or not fix.patch or fix.verification is Verification.REFUTED:
                    continue
                proposal = Proposal(finding=finding, fix=fix, is_primary=fix is finding.fix)
                if proposal.key not in self.results:
                    found.setdefault(proposal.key, proposal)
        return sorted(found.values(), key=lambda p: p.effort)

    def _try_single(
        self, proposal: Proposal, *, on: Sequence[PatchOperation] | None = None, is_cured: bool = True
    ) -> Tried | None:
        on = self.base if on is None else on
        if not is_cured:
            self.results[proposal.key] = Result(
                Verification.NOT_TRIED,
                reason="the job does not train for another reason, so that this change alone shows nothing",
            )
            return None
        if self.bench.num_tried >= self.max_trials:
            self.results[proposal.key] = Result(
                Verification.NOT_TRIED,
                reason=f"{self.max_trials} fix trials were made, which is the limit here",
            )
            return None
        # Where the two touch one place, the fix in question is what is to be tried.
        tried = self.bench.try_patch(merged([proposal.fix.patch, on]))
        note = f"on top of {describe_patch(list(on))}" if on else None
        self._conclude(proposal.finding, proposal.fix, tried, note=note)
        return tried

    def _conclude(self, finding: Finding, fix: Fix, tried: Tried, *, note: str | None = None) -> None:
        self.results[fix_key(finding, fix)] = conclude(finding, tried, note=note)

    # --- Several together ---------------------------------------------------------------------------------

    def _together(self, singles: Sequence[tuple[Proposal, Tried | None]]) -> Tried | None:
        """One fix of every error at once; then fewer of them, if fewer do."""
        chosen = self._one_of_each(singles)
        if len(chosen) < 2:
            return None
        tried = self.bench.try_patch(merged([self.base, *(p.fix.patch for p in chosen)]))
        if not tried.cures_all:
            return None
        for proposal in chosen[::-1]:
            rest = [p for p in chosen if p is not proposal]
            if len(rest) < 2 or self.bench.num_tried >= self.max_trials:
                break
            fewer = self.bench.try_patch(merged([self.base, *(p.fix.patch for p in rest)]))
            if fewer.cures_all:
                chosen, tried = rest, fewer
        for proposal in chosen:
            if self.results[proposal.key].verification is not Verification.VERIFIED:
                others = dict.fromkeys(p.finding.rule for p in chosen if p is not proposal)
                note = f"together with the fix of {listed(others)}"
                self._conclude(proposal.finding, proposal.fix, tried, note=note)
        return tried

    def _one_of_each(self, singles: Sequence[tuple[Proposal, Tried | None]]) -> list[Proposal]:
        """The most promising fix of every error: verified, else one that removes the finding, else the first."""

        def promise(entry: tuple[Proposal, Tried | None]) -> tuple[int, tuple[bool, int, int]]:
            proposal, tried = entry
            if self.results[proposal.key].verification is Verification.VERIFIED:
                return 0, proposal.effort
            gone = tried is not None and tried.was_run and not tried.has(proposal.finding)
            return (1 if gone else 2), proposal.effort

        best: dict[object, Proposal] = {}
        for proposal, _ in sorted(singles, key=promise):
            best.setdefault(finding_key(proposal.finding), proposal)
        by_patch = {patch_key(p.fix.patch): p for p in best.values()}
        return list(by_patch.values())

    def _recommend(self, tried: Tried) -> Fix:
        descriptions = [
            fix.description
            for finding in self.findings
            for fix in (finding.fix, *finding.alternatives)
            if fix is not None and fix.patch and _is_part(fix.patch, tried.patch)
        ]
        return Fix(
            description=" ".join(dict.fromkeys(descriptions)) or f"Change {describe_patch(tried.patch)}.",
            patch=tried.patch,
            verification=Verification.VERIFIED,
            trial=tried.trial.name if tried.trial else None,
        )


def _is_part(patch: Sequence[PatchOperation], whole: Sequence[PatchOperation]) -> bool:
    return all(patch_key([operation]) in {patch_key([o]) for o in whole} for operation in patch)


def conclude(finding: Finding, tried: Tried, *, note: str | None = None) -> Result:
    """What a trial of a patch says of a finding: VERIFIED if the job trains and the finding is gone."""
    name = tried.trial.name if tried.trial else None
    if not tried.was_run:
        if tried.trial is None and tried.findings:
            return Result(Verification.REFUTED, name, tried.reason)
        return Result(Verification.NOT_TRIED, None, tried.reason or "it was not run")
    is_there = tried.has(finding)
    if tried.trains and not is_there:
        return Result(Verification.VERIFIED, name, note)
    where = f", {note}" if note else ""
    if is_there and tried.trains:
        reason = f"it was run{where}, and {finding.rule} is still found"
    elif is_there:
        reason = f"it was run{where}, and it does not cure it: {clause(tried.reason)}"
    else:
        left = [f for f in tried.errors if f.rule != finding.rule]
        why = first_sentence(left[0].message) if left else tried.reason
        reason = f"it was run{where}: {finding.rule} is gone, but the job still does not train: {clause(why)}"
    return Result(Verification.REFUTED, name, reason)


def apply_results(findings: Iterable[Finding], results: dict[FixKey, Result], *, otherwise: str) -> None:
    """Writes into every fix what became of it.

    Args:
        findings: Of the final judgement.
        results: What the verifier found.
        otherwise: Why a fix with a patch was not tried, where nothing better is known.
    """
    for finding in findings:
        for fix in (finding.fix, *finding.alternatives):
            if fix is None or fix.verification is not Verification.NOT_TRIED:
                continue
            if (result := results.get(fix_key(finding, fix))) is not None and fix.patch:
                fix.verification, fix.trial = result.verification, result.trial
                fix.reason = result.reason or fix.reason
            elif not fix.patch:
                fix.reason = fix.reason or _NOT_A_PATCH
            elif finding.severity is Severity.INFO:
                fix.reason = fix.reason or _ONLY_ERRORS
            else:
                fix.reason = fix.reason or otherwise


def all_not_tried(findings: Iterable[Finding], reason: str) -> None:
    """Marks every fix as NOT_TRIED for one reason."""
    for finding in findings:
        for fix in (finding.fix, *finding.alternatives):
            if fix is not None:
                fix.verification, fix.trial, fix.reason = Verification.NOT_TRIED, None, reason

"""The second answer: a job that, by its config alone, cannot start."""

from __future__ import annotations

from dataclasses import dataclass

from hotfire import static, wire
from hotfire.rules.engine import judge
from hotfire.rules.evidence import Evidence, Finding, Judgement, Verification
from hotfire.v1 import report_pb2, spec_pb2

REASON = "the config cannot start"
_LATER = ("model", "data", "trials", "environment")


@dataclass(frozen=True, slots=True)
class StartCheck:
    """What the static rules say."""

    judgement: Judgement
    blocking: list[Finding]
    """Findings with which the job cannot start."""
    report: report_pb2.Report | None
    """Given: the preflight is finished at once with this. None: it is queued."""


def check_start(spec: spec_pb2.PreflightSpec) -> StartCheck:
    """Judges the config against the target cluster. Milliseconds, no torch.

    A job that cannot start is queued all the same if every blocking finding has a patch to try and the plan
    wants fixes verified; otherwise there is nothing for a worker to do.
    """
    evidence = static.job_evidence(spec)
    evidence.unavailable.update(dict.fromkeys(_LATER, REASON))
    judgement = judge(evidence)
    blocking = [f for f in judgement.findings if f.blocks_start]
    report = None
    if blocking and (why := _nothing_to_try(evidence, blocking)):
        for finding in judgement.findings:
            for fix in [finding.fix, *finding.alternatives]:
                if fix is not None:
                    fix.verification, fix.reason = Verification.NOT_TRIED, why
        report = wire.record_to_message(judgement, report_pb2.Report)
    return StartCheck(judgement=judgement, blocking=blocking, report=report)


def _nothing_to_try(evidence: Evidence, blocking: list[Finding]) -> str | None:
    """Why no patched job can be run; None: one can."""
    if evidence.plan is not None and not evidence.plan.verify_fixes:
        return f"{REASON}, and plan.verify_fixes is false"
    without = sorted({f.rule for f in blocking if f.fix is None or not f.fix.patch})
    if without:
        return f"{REASON}, and there is no patch to try for {', '.join(without)}"
    return None

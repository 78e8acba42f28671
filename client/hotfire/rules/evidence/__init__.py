"""Plain records: what ranks write, what rules read, what rules return.

No torch, no protobuf, no redis here: these records live in the user's training image as well as in the
service. Field names are those of the wire contract, so that `hotfire.wire` converts by name.

Numbering: `row`, `line`, `column`, `step`, `micro_batch` from 1; `rank` from 0.
"""

from hotfire.rules.evidence.data import DataEvidence, PreparedRow, RejectedRow, Sample, Token
from hotfire.rules.evidence.enums import (
    Guilty,
    Outcome,
    Phase,
    Role,
    Severity,
    TrialOutcome,
    Verdict,
    Verification,
)
from hotfire.rules.evidence.findings import Check, Finding, Fix, Judgement, Location, PatchOperation
from hotfire.rules.evidence.job import (
    Cluster,
    DeepSpeedConfig,
    Environment,
    Evidence,
    ModelFacts,
    Plan,
    ReadProblem,
)
from hotfire.rules.evidence.request import PrepareRequest, TrialRequest
from hotfire.rules.evidence.search import Search
from hotfire.rules.evidence.trial import (
    Adaptation,
    MicroBatch,
    ParameterGroup,
    RankStep,
    Step,
    Trial,
    TrialError,
)

__all__ = [
    "Adaptation",
    "Check",
    "Cluster",
    "DataEvidence",
    "DeepSpeedConfig",
    "Environment",
    "Evidence",
    "Finding",
    "Fix",
    "Guilty",
    "Judgement",
    "Location",
    "MicroBatch",
    "ModelFacts",
    "Outcome",
    "ParameterGroup",
    "PatchOperation",
    "Phase",
    "Plan",
    "PrepareRequest",
    "PreparedRow",
    "RankStep",
    "ReadProblem",
    "RejectedRow",
    "Role",
    "Sample",
    "Search",
    "Severity",
    "Step",
    "Token",
    "Trial",
    "TrialError",
    "TrialOutcome",
    "TrialRequest",
    "Verdict",
    "Verification",
]

"""What rules return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hotfire.rules.evidence.enums import Outcome, Severity, Verdict, Verification


@dataclass(kw_only=True, slots=True)
class Location:
    """Where a finding points. Give every part that is known."""

    config_path: str | None = None
    """JSON pointer into the spec document, such as /deepspeed/zero_optimization/stage."""
    line: int | None = None
    """Line of the DeepSpeed text, from 1."""
    column: int | None = None
    row: int | None = None
    """Row of the sample, from 1."""
    micro_batch: int | None = None
    parameter: str | None = None
    module: str | None = None
    step: int | None = None
    rank: int | None = None
    trial: str | None = None


@dataclass(kw_only=True, slots=True)
class PatchOperation:
    """One RFC 6902 operation on the spec document {deepspeed, training, data, model, cluster}."""

    op: str
    """One of "add", "replace" or "remove"."""
    path: str
    value: Any = None


@dataclass(kw_only=True, slots=True)
class Fix:
    """A proposed change. It says itself whether it was tried."""

    description: str
    patch: list[PatchOperation] = field(default_factory=list)
    """Empty: the fix cannot be expressed as a patch (clean the data, upgrade, ...)."""
    verification: Verification = Verification.NOT_TRIED
    trial: str | None = None
    reason: str | None = None


@dataclass(kw_only=True, slots=True)
class Finding:
    """One thing that is wrong. `rule`, `rule_id` and the default `severity` are filled in by the engine."""

    message: str
    """One or two sentences with the numbers; no row text in it."""
    severity: Severity | None = None
    """None: the rule's own. A rule may lower it with the evidence, and says so in the message."""
    location: Location | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    """The numbers (and, where needed, a little row text: this is where private text may stand)."""
    fix: Fix | None = None
    alternatives: list[Fix] = field(default_factory=list)
    rule: str = ""
    rule_id: str = ""
    # Not on the wire:
    blocks_start: bool | None = None
    """The job, as given, cannot start. None: an ERROR of a rule that is marked so; the engine writes it out."""


@dataclass(kw_only=True, slots=True)
class Check:
    """What became of one rule."""

    rule: str
    rule_id: str
    outcome: Outcome
    reason: str | None = None


@dataclass(kw_only=True, slots=True)
class Judgement:
    """What `judge` returns: the findings, every rule's outcome, the verdict and its one sentence."""

    findings: list[Finding]
    checks: list[Check]
    verdict: Verdict
    headline: str

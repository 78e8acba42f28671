"""The report as an object: what to ask of it, and where to put it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hotfire import wire
from hotfire.errors import NoReportError, VerdictError
from hotfire.rules.evidence import Check, Finding, Fix, PatchOperation, Trial, Verdict
from hotfire.v1 import preflight_pb2, report_pb2


@dataclass(kw_only=True, slots=True)
class StageResult:
    """One ZeRO stage; gaps are relative to the reference, at the first step."""

    stage: int | None = None
    outcome: str | None = None
    agrees_with_reference: bool | None = None
    loss_gap: float | None = None
    grad_norm_gap: float | None = None
    peak_memory_bytes: int | None = None
    step_seconds: float | None = None
    forecast_bytes: int | None = None


@dataclass(kw_only=True, slots=True)
class ZeroVerdict:
    """ZeRO's part in it."""

    submitted_stage: int | None = None
    stages: list[StageResult] = field(default_factory=list)
    guilty: str | None = None
    """"NONE", "NOT_ZERO", "STAGE", "KEYS", "VERSION" or "UNKNOWN"."""
    guilty_keys: list[str] = field(default_factory=list)
    """JSON pointers into the spec."""
    recommended_patch: list[PatchOperation] = field(default_factory=list)
    explanation: str | None = None


class Report:
    """The report of one preflight.

    Attributes:
        message: The protobuf message, with everything in it.
        preflight: The whole record, if the report came with one.
    """

    def __init__(self, message: report_pb2.Report, preflight: preflight_pb2.Preflight | None = None) -> None:
        self.message = message
        self.preflight = preflight

    @classmethod
    def of(cls, preflight: preflight_pb2.Preflight) -> Report:
        """The report of a finished preflight.

        Raises:
            NoReportError: It ended without one (FAILED, CANCELLED, EXPIRED), or has not ended.
        """
        if preflight.HasField("report"):
            return cls(preflight.report, preflight)
        state = preflight_pb2.State.Name(preflight.state).removeprefix("STATE_")
        why = {
            "FAILED": f"failed on our side: {preflight.error.message}",
            "CANCELLED": "was cancelled",
            "EXPIRED": "was not started within plan.queue_timeout: no worker was free",
        }.get(state, f"is {state.lower()}")
        raise NoReportError(f"{preflight.name} {why}", preflight)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Reads a report, or a whole preflight, as printed by `--format json`.

        Raises:
            WireError: It is neither.
        """
        data = json.loads(text)
        if isinstance(data, dict) and "state" in data:
            return cls.of(wire.message_from_dict(data, preflight_pb2.Preflight))
        return cls(wire.message_from_dict(data, report_pb2.Report))

    @property
    def verdict(self) -> Verdict:
        """PASS, WARN, FAIL or INCONCLUSIVE."""
        return Verdict(report_pb2.Verdict.Name(self.message.verdict).removeprefix("VERDICT_"))

    @property
    def ok(self) -> bool:
        """PASS or WARN."""
        return self.verdict in (Verdict.PASS, Verdict.WARN)

    @property
    def headline(self) -> str:
        """One sentence, cause first."""
        return self.message.headline

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, errors first."""
        return [wire.message_to_record(f, Finding) for f in self.message.findings]

    @property
    def recommendation(self) -> Fix | None:
        """The smallest verified patch for the whole job, if one was found."""
        if not self.message.HasField("recommendation"):
            return None
        return wire.message_to_record(self.message.recommendation, Fix)

    @property
    def checks(self) -> list[Check]:
        """What became of every rule."""
        return [wire.message_to_record(c, Check) for c in self.message.checks]

    @property
    def trials(self) -> list[Trial]:
        """The training runs, the candidate first."""
        return [wire.message_to_record(t, Trial) for t in self.message.trials]

    @property
    def zero(self) -> ZeroVerdict | None:
        """ZeRO's part in it."""
        if not self.message.HasField("zero"):
            return None
        return wire.message_to_record(self.message.zero, ZeroVerdict)

    @property
    def loss_curve(self) -> list[float | None]:
        """Raw loss of the candidate, step by step; None where it was not measured, NaN where it was NaN."""
        return self._curve("loss")

    @property
    def grad_norm_curve(self) -> list[float | None]:
        """Gradient norm of the candidate before clipping, step by step."""
        return self._curve("grad_norm_measured")

    def raise_for_verdict(self, *, fail_on: str = "error") -> None:
        """Raises unless the verdict is PASS or WARN.

        Args:
            fail_on: "warn": raise for WARN too.

        Raises:
            VerdictError: With the report in it.
        """
        if not self.ok or (fail_on == "warn" and self.verdict is Verdict.WARN):
            raise VerdictError(f"{self.verdict}: {self.headline}", self)

    def to_dict(self) -> dict[str, Any]:
        """The report's JSON form as Python objects."""
        return wire.message_to_dict(self.message)

    def to_json(self, *, indent: int | None = 2) -> str:
        """The report as JSON."""
        return wire.message_to_json(self.message, indent=indent)

    def to_markdown(self) -> str:
        """The report as Markdown, for a pull request or a notebook."""
        from hotfire.render import markdown

        return markdown.render(self.preflight or preflight_pb2.Preflight(report=self.message))

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def __repr__(self) -> str:
        """`<Report FAIL: every label is -100 ...>`."""
        return f"<Report {self.verdict}: {self.headline}>"

    def _curve(self, name: str) -> list[float | None]:
        for trial in self.message.trials:
            if trial.role == report_pb2.ROLE_CANDIDATE:
                return [getattr(s, name) if s.HasField(name) else None for s in trial.steps]
        return []

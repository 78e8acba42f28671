"""What every format for machines is made of: a report, and the files that its findings stand in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hotfire.render import text
from hotfire.render.places import Place, Sources
from hotfire.v1 import preflight_pb2, report_pb2


@dataclass(kw_only=True, slots=True)
class Result:
    """The outcome of `check`, `lint` or `diagnose`."""

    command: str
    """The command that made it."""
    report: report_pb2.Report
    sources: Sources = field(default_factory=Sources)
    preflight: preflight_pb2.Preflight = field(default_factory=preflight_pb2.Preflight)
    """The record; for offline commands a shell around the report."""

    @classmethod
    def of(cls, preflight: preflight_pb2.Preflight, sources: Sources | None = None) -> Result:
        """The outcome of a preflight, also of one that ended without a report."""
        return cls(
            command="check", report=preflight.report, sources=sources or Sources(), preflight=preflight
        )

    @property
    def verdict(self) -> str:
        """PASS, WARN, FAIL, INCONCLUSIVE; the state where there is no report."""
        if self.preflight.HasField("report") or self.report.HasField("verdict"):
            return text.enum_name(self.report, "verdict") or "INCONCLUSIVE"
        return text.enum_name(self.preflight, "state") or "UNKNOWN"

    @property
    def headline(self) -> str:
        """One sentence."""
        from hotfire.render.view import View

        return self.report.headline or View(self.preflight).headline

    @property
    def failure(self) -> str | None:
        """Why there is no verdict on the job, if there is none."""
        if self.verdict in ("PASS", "WARN", "FAIL"):
            return None
        return self.headline

    def findings(self) -> Iterator[tuple[report_pb2.Finding, Place | None]]:
        """Every finding with its place."""
        for finding in self.report.findings:
            place = self.sources.place(finding.location) if finding.HasField("location") else None
            if place is None:
                place = self.sources.place(report_pb2.Location())
            yield finding, place


def full_message(finding: report_pb2.Finding) -> str:
    """The message, and what would cure it."""
    parts = [text.clean(finding.message, keep_newlines=True)]
    if finding.HasField("fix") and finding.fix.description:
        parts.append(f"Fix: {text.clean(finding.fix.description)}")
    return " ".join(parts)

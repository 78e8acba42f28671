"""The answer of `hotfire diagnose` in a terminal: what the log shows, why that may be, and how to find out."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from hotfire.diagnosis import Diagnosis
from hotfire.render import evidence, findings, frame
from hotfire.render.frame import Look
from hotfire.render.text import clean
from hotfire.render.view import View
from hotfire.v1 import preflight_pb2


def build(
    found: Diagnosis, record: preflight_pb2.Preflight, look: Look, *, verbose: bool = False
) -> RenderableType:
    """The answer.

    Args:
        found: What was read and judged.
        record: The shell around the report; changed.
        look: What the output can show.
        verbose: Every skipped rule.
    """
    return Group(*_sections(found, View(record, ephemeral=True), look, verbose=verbose))


def _sections(found: Diagnosis, view: View, look: Look, *, verbose: bool) -> Iterator[RenderableType]:
    for finding in view.report.findings:
        if "likely_causes" in finding.evidence.fields:
            # They have a section of their own.
            finding.ClearField("fix")
            finding.ClearField("alternatives")
            for name in ("likely_causes", "excluded"):
                del finding.evidence.fields[name]
    yield frame.banner(view, look)
    for title, body in (
        ("Likely causes, in order", _causes(found, look)),
        ("Curves", evidence.curves(view, look)),
        ("The log", _log(found)),
        ("Findings", findings.details(view, look, verbose=verbose)),
        ("Checks", findings.checks(view, look, verbose=verbose)),
    ):
        if body is not None:
            yield frame.heading(title, look)
            yield Padding(body, (0, 0, 0, 2))
    yield frame.footer(view, look)


def _causes(found: Diagnosis, look: Look) -> RenderableType | None:
    if not found.causes:
        return None
    lines: list[RenderableType] = []
    for number, cause in enumerate(found.causes, start=1):
        head = Text(f"{number}. {cause.cause}", style="bold")
        head.append(f"\n   {clean(look.fit(cause.why))}", style="not bold")
        head.append(f"\n   {look.sign('arrow')} {clean(look.fit(cause.decided_by))}", style="not bold cyan")
        lines.append(head)
    lines += [Text(f"Not: {clean(look.fit(text))}", style="dim") for text in found.reading.excluded]
    return Group(*lines)


def _log(found: Diagnosis) -> RenderableType:
    log = found.log
    parts = [f"{log.name} ({log.format}): {len(log.entries)} entries"]
    if log.num_overflows:
        parts.append(f"{log.num_overflows} skipped steps")
    if log.global_step is not None:
        parts.append(f"ends at step {log.global_step}" + (f" of {log.max_steps}" if log.max_steps else ""))
    parts.append("complete" if log.finished else "without the Trainer's summary")
    parts += [f"{library} {version}" for library, version in sorted(log.versions.items())]
    return Text(clean("; ".join([*parts, *log.notes])))

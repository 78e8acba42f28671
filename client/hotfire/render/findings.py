"""What to change, the findings in detail, and what became of every check."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hotfire import wire
from hotfire.render import diff, text
from hotfire.render.frame import SEVERITY_STYLES, Look
from hotfire.render.view import View, proof
from hotfire.v1 import report_pb2

_VERIFICATION = {"VERIFIED": ("ok", "green"), "REFUTED": ("bad", "red"), "NOT_TRIED": ("skip", "dim")}
_SIGNS = {"ERROR": "bad", "WARNING": "warn", "INFO": "info"}
#: Evidence shown per finding unless everything is asked for.
_NUM_EVIDENCE, _NUM_SKIPPED_NAMES = 6, 4


def remedy(view: View, look: Look) -> RenderableType | None:
    """The change that cures the job, as a diff, and what the trial of it did."""
    fix = view.remedy
    if fix is None:
        return None
    parts: list[RenderableType] = [Text(text.clean(fix.description), style="bold")]
    parts += _diffs(view, fix.patch, look)
    parts.append(_proof(view, fix, look))
    return Group(*parts)


def details(view: View, look: Look, *, verbose: bool) -> RenderableType | None:
    """One block per finding."""
    if not view.report.findings:
        return None
    blocks: list[RenderableType] = []
    # A fix that several findings propose is told once.
    told: set[str] = {view.remedy.description} if view.remedy is not None else set()
    for i, finding in enumerate(view.report.findings):
        if i:
            blocks.append(Text(""))
        blocks += _finding(view, finding, look, told, verbose=verbose)
    return Group(*blocks)


def _finding(
    view: View, finding: report_pb2.Finding, look: Look, told: set[str], *, verbose: bool
) -> list[RenderableType]:
    severity = text.enum_name(finding, "severity")
    style = SEVERITY_STYLES.get(severity, "white")
    head = Text()
    head.append(f"{look.sign(_SIGNS.get(severity, 'info'))} ", style=f"bold {style}")
    head.append(finding.rule, style=f"bold {style}")
    head.append(f"  {finding.rule_id}  {severity.lower()}", style="dim")
    lines: list[RenderableType] = [Text(text.clean(finding.message))]
    if finding.HasField("location") and (where := text.location_text(finding.location)):
        lines.append(_labelled("at", look.fit(where), "cyan"))
    if finding.HasField("evidence"):
        lines += _evidence(finding, verbose=verbose)
    if finding.HasField("fix"):
        lines += _fix(view, finding.fix, "fix", look, brief=finding.fix.description in told)
        told.add(finding.fix.description)
    for alternative in finding.alternatives:
        if alternative.description not in told:
            lines += _fix(view, alternative, "or", look, brief=False)
            told.add(alternative.description)
    return [head, Padding(Group(*lines), (0, 0, 0, 2))]


def _fix(view: View, fix: report_pb2.Fix, label: str, look: Look, *, brief: bool) -> list[RenderableType]:
    lines: list[RenderableType] = [_labelled(label, text.clean(fix.description), "")]
    if brief:
        return lines
    if fix.patch:
        lines.append(_labelled("", diff.one_line(fix.patch), "green"))
        lines.append(Padding(_proof(view, fix, look), (0, 0, 0, 5)))
    return lines


def _proof(view: View, fix: report_pb2.Fix, look: Look) -> Text:
    sign, style = _VERIFICATION.get(text.enum_name(fix, "verification"), ("skip", "dim"))
    return Text(f"{look.sign(sign)} {look.fit(proof(view, fix))}", style=style)


def _diffs(view: View, patch: Any, look: Look) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for change in diff.file_diffs(view.document, patch):
        block = Text(change.title + "\n", style="dim italic")
        for line in change.lines:
            style = {"+": "not dim green", "-": "not dim red"}.get(line[:1], "")
            block.append(f"  {line}\n", style=f"not italic {style}" if look.color else "")
        block.rstrip()
        parts.append(block)
    return parts


def _labelled(label: str, content: str, style: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=4, style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(label, Text(content, style=style))
    return grid


def _evidence(finding: report_pb2.Finding, *, verbose: bool) -> list[RenderableType]:
    given = sorted(wire.struct_to_dict(finding.evidence).items())
    values = {key: value for key, value in given if value not in ([], {}, "", None)}
    brief = [(key, value) for key, value in values.items() if not isinstance(value, dict)][:_NUM_EVIDENCE]
    shown = list(values.items()) if verbose else brief
    if not shown:
        return []
    line = Text()
    for i, (key, value) in enumerate(shown):
        if i:
            line.append("   ")
        line.append(f"{text.clean(key)} ", style="dim")
        line.append(text.value_text(value, limit=200 if verbose else 60))
    if len(values) > len(shown):
        line.append(f"   +{len(values) - len(shown)} more", style="dim")
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=4, style="dim")
    grid.add_column(overflow="fold")
    grid.add_row("with", line)
    return [grid]


def checks(view: View, look: Look, *, verbose: bool) -> RenderableType | None:
    """How many rules passed, and why the others did not run."""
    if not view.report.checks:
        return None
    counts = view.check_counts()
    line = Text()
    for outcome, word, style in (
        ("PASSED", "passed", "green"),
        ("FOUND", "found something", "red"),
        ("SKIPPED", "skipped", "dim"),
        ("ERROR", "failed themselves", "bold magenta"),
    ):
        if counts.get(outcome):
            line.append(look.fit("  ·  ") if line else "", style="dim")
            line.append(f"{counts[outcome]} {word}", style=style)
    line.append(f"  of {len(view.report.checks)} rules", style="dim")
    lines: list[RenderableType] = [line]
    for reason, rules in view.checks_by_reason("ERROR"):
        lines.append(Text(f"{look.sign('bad')} {', '.join(rules)}: {reason}", style="magenta"))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for reason, rules in view.checks_by_reason("SKIPPED"):
        shown = rules if verbose else rules[:_NUM_SKIPPED_NAMES]
        names = ", ".join(shown) + (f" +{len(rules) - len(shown)}" if len(rules) > len(shown) else "")
        grid.add_row(
            Text(f"{look.sign('skip')} {len(rules):>2}", style="dim"),
            Text(reason).append(f"  ({names})", style="dim"),
        )
    return Group(*lines, grid)

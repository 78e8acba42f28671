"""The answer of `hotfire lint`: every finding at its line of the config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from hotfire import wire
from hotfire.dsconfig.effective import zero_stage
from hotfire.render import diff, evidence, text
from hotfire.render import effective as render_effective
from hotfire.render.frame import SEVERITY_STYLES, VERDICT_STYLES, Look
from hotfire.render.places import Sources
from hotfire.render.result import Result
from hotfire.rules.evidence import Evidence, Finding
from hotfire.v1 import preflight_pb2, report_pb2, spec_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2

_WILL_NOT_FIT = "M107"


def build(
    response: service_pb2.CheckConfigResponse,
    *,
    name: str,
    source: str,
    document: dict[str, Any] | None,
    look: Look,
    effective: tuple[Evidence, Sequence[Finding]] | None = None,
) -> RenderableType:
    """The findings for a terminal.

    Args:
        response: What the rules said.
        name: The file, as the user named it.
        source: The DeepSpeed config's text.
        document: The spec document that patches apply to.
        look: What the output can show.
        effective: Evidence and findings: show what takes effect, too.
    """
    lines = source.splitlines()
    parts: list[RenderableType] = []
    if effective is not None:
        parts.append(render_effective.build(*effective, look))
    for finding in response.findings:
        parts += _finding(finding, name, lines, document, look)
    if response.memory.stages:
        parts += [
            Text("Memory per GPU on the target cluster", style="bold"),
            Padding(evidence.memory_table(response.memory, look, submitted=_stage(response)), (0, 0, 1, 2)),
        ]
    target = (document or {}).get("cluster") or {}
    return Group(*parts, _summary(response, name, look, has_target="gpu_memory_bytes" in target))


def _stage(response: service_pb2.CheckConfigResponse) -> int | None:
    return zero_stage(wire.struct_to_dict(response.effective_config))


def _finding(
    finding: report_pb2.Finding, name: str, lines: list[str], document: dict[str, Any] | None, look: Look
) -> list[RenderableType]:
    severity = text.enum_name(finding, "severity")
    style = SEVERITY_STYLES.get(severity, "")
    location = finding.location
    where = name
    if location.HasField("line"):
        where += f":{location.line}" + (f":{location.column}" if location.HasField("column") else "")
    head = Text(text.clean(where), style="bold")
    head.append(f"  {severity.lower()}", style=f"bold {style}")
    head.append(f"  {finding.rule}", style=style)
    head.append(f"  {finding.rule_id}", style="not bold dim")
    body: list[RenderableType] = []
    if location.HasField("line") and location.line > 0 and lines:
        body.append(_excerpt(lines, location, style, look))
    elif location.HasField("config_path"):
        body.append(Text(text.clean(location.config_path), style="cyan"))
    body.append(Text(text.clean(finding.message)))
    fixes = [finding.fix] if finding.HasField("fix") else []
    for fix in [*fixes, *finding.alternatives]:
        line = Text(f"{look.sign('arrow')} ", style="green")
        line.append(text.clean(fix.description))
        body.append(line)
        for change in diff.file_diffs(document, fix.patch):
            block = Text(style="dim")
            for row in change.lines:
                color = {"+": "not dim green", "-": "not dim red"}.get(row[:1], "")
                block.append(f"    {row}\n", style=color if look.color else "")
            block.rstrip()
            body.append(block)
    return [head, Padding(Group(*body), (0, 0, 1, 2))]


def _excerpt(lines: list[str], location: report_pb2.Location, style: str, look: Look) -> Text:
    """The line with a mark under the key."""
    # A text that ends too early is reported after its last line.
    at = min(location.line, len(lines))
    number, bar = str(at), "│" if look.unicode else "|"
    line = text.clean(lines[at - 1].replace("\t", " "))
    shown = line[: look.width - 12]
    excerpt = Text(f"{number} {bar} ", style="dim")
    excerpt.append(shown, style="not dim")
    if at == location.line and location.HasField("column") and 0 < location.column <= len(shown):
        start = location.column - 1
        rest = shown[start:]
        end = rest.find('"', 1) + 1 if rest.startswith('"') else len(rest)
        excerpt.append(f"\n{' ' * len(number)} {bar} {' ' * start}")
        excerpt.append("^" * max(1, end), style=f"not dim {style}")
    return excerpt


def _summary(response: service_pb2.CheckConfigResponse, name: str, look: Look, *, has_target: bool) -> Text:
    verdict = text.enum_name(response, "verdict")
    config_checks = [c for c in response.checks if _is_told(c, has_target=has_target)]
    counts = {
        outcome: sum(text.enum_name(c, "outcome") == outcome for c in config_checks)
        for outcome in ("PASSED", "SKIPPED", "ERROR")
    }
    sign = look.sign({"PASS": "ok", "WARN": "warn", "FAIL": "bad"}.get(verdict, "info"))
    line = Text(f"{sign} {verdict}", style=f"bold {VERDICT_STYLES.get(verdict, 'magenta')}")
    line.append(f"  {text.clean(name)}: ", style="not bold default")
    severities = [text.enum_name(f, "severity") for f in response.findings]
    found = [
        text.plural(severities.count(severity), word)
        for severity, word in (("ERROR", "error"), ("WARNING", "warning"), ("INFO", "remark"))
        if severity in severities
    ]
    line.append(", ".join(found) or "nothing wrong found", style="not bold default")
    rest = f"; {counts['PASSED']} of {len(config_checks)} rules passed"
    if counts["SKIPPED"]:
        rest += f", {counts['SKIPPED']} skipped"
    if counts["ERROR"]:
        rest += f", {counts['ERROR']} failed themselves"
    line.append(rest, style="not bold dim")
    skips = [c for c in config_checks if text.enum_name(c, "outcome") == "SKIPPED" and c.reason]
    # The reason of what was asked for comes first.
    skips.sort(key=lambda c: (c.rule_id != _WILL_NOT_FIT, c.reason))
    skipped = list(dict.fromkeys(c.reason for c in skips))
    if skipped:
        line.append(
            f"\n  skipped because {'; '.join(text.clean(reason) for reason in skipped[:4])}",
            style="not bold dim",
        )
    return line


def _is_told(check: report_pb2.Check, *, has_target: bool) -> bool:
    """Config rules, what found or passed something, and why there is no forecast where one was asked for."""
    if check.rule_id.startswith("C") or text.enum_name(check, "outcome") != "SKIPPED":
        return True
    return has_target and check.rule_id == _WILL_NOT_FIT


def result(
    response: service_pb2.CheckConfigResponse, spec: spec_pb2.PreflightSpec, sources: Sources
) -> Result:
    """The answer as a result that every format can tell."""
    report = report_pb2.Report(
        verdict=response.verdict,
        headline=response.headline,
        findings=response.findings,
        checks=response.checks,
    )
    if response.HasField("memory"):
        report.memory.CopyFrom(response.memory)
    return Result(
        command="lint",
        report=report,
        sources=sources,
        preflight=preflight_pb2.Preflight(spec=spec, report=report),
    )


def effective_markdown(evidence: Evidence, findings: Sequence[Finding]) -> str:
    """What takes effect, as a diff block."""
    lines = [
        f"{line.sign} {shown}" + (f"  # {line.why}" if line.why else "")
        for line, shown in render_effective.diff_lines(render_effective.lines_of(evidence, findings))
    ]
    return "## What DeepSpeed will use\n\n```diff\n" + "\n".join(lines) + "\n```\n"

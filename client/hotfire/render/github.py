"""Annotations of a GitHub Actions run: one workflow command per finding.

Source: docs.github.com, "Workflow commands for GitHub Actions": `::error file=,line=,col=,title=::message`;
`%`, CR and LF are escaped, in properties also `:` and `,`.
"""

from __future__ import annotations

from hotfire.render import text
from hotfire.render.result import Result, full_message

_LEVELS = {"ERROR": "error", "WARNING": "warning", "INFO": "notice"}
_VERDICTS = {"PASS": "notice", "WARN": "warning"}


def render(result: Result) -> str:
    """The annotations, and the verdict as the last of them."""
    lines = []
    for finding, place in result.findings():
        level = _LEVELS.get(text.enum_name(finding, "severity"), "error")
        properties = {"title": f"{finding.rule_id} {finding.rule}"}
        if place is not None:
            properties["file"] = place.file
            if place.line is not None:
                properties["line"] = str(place.line)
                if place.column is not None:
                    properties["col"] = str(place.column)
        lines.append(_command(level, properties, full_message(finding)))
    level = _VERDICTS.get(result.verdict, "error")
    lines.append(_command(level, {"title": f"hotfire {result.command}: {result.verdict}"}, result.headline))
    return "\n".join(lines) + "\n"


def _command(level: str, properties: dict[str, str], message: str) -> str:
    order = ("file", "line", "col", "title")
    given = ",".join(f"{name}={_property(properties[name])}" for name in order if name in properties)
    return f"::{level} {given}::{_data(text.clean(message, keep_newlines=True))}"


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")

"""JUnit XML: every rule is a test case, so that a CI's test view shows what passed, failed and was skipped.

Source: the schema that Jenkins' JUnit plugin and GitLab read (testsuites, testsuite, testcase, failure, error,
skipped, system-out).
"""

from __future__ import annotations

import re
from collections import defaultdict
from xml.sax.saxutils import escape, quoteattr

from hotfire.render import text
from hotfire.render.places import Place
from hotfire.render.result import Result, full_message
from hotfire.v1 import report_pb2

# What XML 1.0 cannot hold, even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(result: Result) -> str:
    """The report as one test suite."""
    found: dict[str, list[tuple[report_pb2.Finding, Place | None]]] = defaultdict(list)
    for finding, place in result.findings():
        found[finding.rule].append((finding, place))
    cases = [_case(check, found.pop(check.rule, [])) for check in result.report.checks]
    # Findings of rules that the report does not list.
    cases += [_found(rule, findings[0][0].rule_id, findings) for rule, findings in found.items()]
    if result.failure is not None:
        body = f"<error message={_attribute(result.failure)} type={_attribute(result.verdict)}/>"
        cases.append(_testcase("verdict", "hotfire", body))
    failures = sum("<failure" in case for case in cases)
    errors = sum("<error" in case for case in cases)
    skipped = sum("<skipped" in case for case in cases)
    seconds = text.duration_of(result.preflight) or 0.0
    counts = f'tests="{len(cases)}" failures="{failures}" errors="{errors}"'
    name = f"hotfire {result.command}"
    head = f'name={_attribute(name)} {counts} time="{seconds:.3f}"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<testsuites {head}>",
        f'<testsuite {head} skipped="{skipped}">',
        "<properties>",
        f'<property name="verdict" value={_attribute(result.verdict)}/>',
        f'<property name="headline" value={_attribute(result.headline)}/>',
        "</properties>",
        *cases,
        "</testsuite>",
        "</testsuites>",
    ]
    return "\n".join(lines) + "\n"


def _case(check: report_pb2.Check, findings: list[tuple[report_pb2.Finding, Place | None]]) -> str:
    outcome = text.enum_name(check, "outcome")
    group = f"hotfire.{check.rule_id or 'rule'}"
    if findings:
        return _found(check.rule, check.rule_id, findings)
    if outcome == "SKIPPED":
        return _testcase(check.rule, group, f"<skipped message={_attribute(check.reason)}/>")
    if outcome == "ERROR":
        return _testcase(check.rule, group, f'<error message={_attribute(check.reason)} type="rule"/>')
    return _testcase(check.rule, group, "")


def _found(rule: str, rule_id: str, findings: list[tuple[report_pb2.Finding, Place | None]]) -> str:
    """A rule with findings: its errors are failures; warnings and remarks are only told."""
    errors = [f for f, _ in findings if text.enum_name(f, "severity") == "ERROR"]
    told = "\n".join(_line(finding, place) for finding, place in findings)
    place = next((p for _, p in findings if p is not None), None)
    if errors:
        body = f'<failure message={_attribute(errors[0].message)} type="ERROR">{_content(told)}</failure>'
    else:
        body = f"<system-out>{_content(told)}</system-out>"
    return _testcase(rule, f"hotfire.{rule_id}", body, place)


def _line(finding: report_pb2.Finding, place: Place | None) -> str:
    where = ""
    if place is not None:
        where = place.file + (f":{place.line}" if place.line is not None else "") + ": "
    return f"{where}{text.enum_name(finding, 'severity').lower()}: {full_message(finding)}"


def _testcase(name: str, group: str, body: str, place: Place | None = None) -> str:
    at = ""
    if place is not None:
        at = f" file={_attribute(place.file)}"
        at += f' line="{place.line}"' if place.line is not None else ""
    head = f'testcase name={_attribute(name)} classname={_attribute(group)} time="0"{at}'
    return f"<{head}>{body}</testcase>" if body else f"<{head}/>"


def _attribute(value: str) -> str:
    return quoteattr(_FORBIDDEN.sub("\ufffd", value), {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def _content(value: str) -> str:
    return escape(_FORBIDDEN.sub("\ufffd", value))

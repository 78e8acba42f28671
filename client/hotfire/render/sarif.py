"""SARIF 2.1.0: findings that code review shows on the line of the config.

Source: OASIS SARIF 2.1.0 (run, tool, result, fix, invocation). A finding in no file has a logical location only.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from typing import Any
from urllib.parse import quote

import hotfire
from hotfire import wire
from hotfire.dsconfig.edit import EditError, edit
from hotfire.render import text
from hotfire.render.diff import operations
from hotfire.render.places import Place, shown
from hotfire.render.result import Result, full_message
from hotfire.rules.engine import find_rule
from hotfire.rules.page import page
from hotfire.v1 import report_pb2

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"ERROR": "error", "WARNING": "warning", "INFO": "note"}
_BASE = "%SRCROOT%"


def render(result: Result) -> str:
    """The report as a SARIF log with one run."""
    rules = sorted({finding.rule_id for finding in result.report.findings})
    index = {rule_id: i for i, rule_id in enumerate(rules)}
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "Hotfire",
                "version": hotfire.__version__,
                "semanticVersion": hotfire.__version__,
                "rules": [_rule(rule_id, result) for rule_id in rules],
            }
        },
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(result)],
        "results": [_result(finding, place, index, result) for finding, place in result.findings()],
        "properties": {"verdict": result.verdict, "headline": text.clean(result.headline)},
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _rule(rule_id: str, result: Result) -> dict[str, Any]:
    rule = find_rule(rule_id)
    if rule is None:  # of a newer service
        name = next(f.rule for f in result.report.findings if f.rule_id == rule_id)
        return {"id": rule_id, "name": name}
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.documentation},
        "help": {"text": rule.documentation, "markdown": page(rule)},
        "defaultConfiguration": {"level": _LEVELS[str(rule.severity)]},
        "properties": {"category": rule.category, "tags": [rule.category]},
    }


def _invocation(result: Result) -> dict[str, Any]:
    invocation: dict[str, Any] = {"executionSuccessful": result.failure is None}
    notes = [
        {
            "level": "error",
            "message": {"text": f"{check.rule}: {text.clean(check.reason)}"},
            "associatedRule": {"id": check.rule_id},
        }
        for check in result.report.checks
        if text.enum_name(check, "outcome") == "ERROR"
    ]
    if result.failure is not None:
        notes.append({"level": "error", "message": {"text": text.clean(result.failure)}})
    if notes:
        invocation["toolExecutionNotifications"] = notes
    return invocation


def _result(
    finding: report_pb2.Finding, place: Place | None, index: dict[str, int], result: Result
) -> dict[str, Any]:
    location = _location(finding, place)
    item: dict[str, Any] = {
        "ruleId": finding.rule_id,
        "ruleIndex": index[finding.rule_id],
        "level": _LEVELS.get(text.enum_name(finding, "severity"), "none"),
        "message": {"text": full_message(finding)},
        "partialFingerprints": {"hotfire/v1": _fingerprint(finding, place)},
        "properties": _properties(finding),
    }
    if location:
        item["locations"] = [location]
    if fixes := [fix for fix in (_fix(f, result) for f in (finding.fix, *finding.alternatives)) if fix]:
        item["fixes"] = fixes
    return item


def _location(finding: report_pb2.Finding, place: Place | None) -> dict[str, Any]:
    location: dict[str, Any] = {}
    if place is not None:
        physical: dict[str, Any] = {"artifactLocation": _artifact(place.file)}
        # Code review shows nothing without a line: a finding about the whole file stands at its first.
        physical["region"] = {"startLine": place.line or 1}
        if place.line is not None and place.column is not None:
            physical["region"]["startColumn"] = place.column
        location["physicalLocation"] = physical
    if finding.location.config_path:
        location["logicalLocations"] = [
            {"fullyQualifiedName": finding.location.config_path, "kind": "member"}
        ]
    return location


def _artifact(file: str) -> dict[str, Any]:
    if file.startswith("/"):
        return {"uri": "file://" + quote(file)}
    return {"uri": quote(file), "uriBaseId": _BASE}


def _fingerprint(finding: report_pb2.Finding, place: Place | None) -> str:
    """The same for the same finding after lines have moved."""
    about = (finding.rule_id, place.file if place else "", finding.location.config_path)
    return hashlib.sha256("\0".join(about).encode()).hexdigest()[:32]


def _properties(finding: report_pb2.Finding) -> dict[str, Any]:
    properties: dict[str, Any] = {"location": wire.message_to_dict(finding.location)}
    if finding.HasField("fix"):
        properties["fix"] = wire.message_to_dict(finding.fix)
    return properties


def _fix(proposed: report_pb2.Fix, result: Result) -> dict[str, Any] | None:
    """A fix as replaced lines of the DeepSpeed config, where it is one."""
    file = result.sources.deepspeed
    patch = operations(proposed.patch)
    if file is None or not patch or any(not op.path.startswith("/deepspeed/") for op in patch):
        return None
    try:
        before = file.read_bytes().decode("utf-8")
        after = edit(before, patch)
    except (OSError, UnicodeDecodeError, EditError):
        return None
    replacements = list(_replacements(before, after))
    change = {"artifactLocation": _artifact(shown(file)), "replacements": replacements}
    return {"description": {"text": text.clean(proposed.description)}, "artifactChanges": [change]}


def _replacements(before: str, after: str) -> list[dict[str, Any]]:
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    replacements = []
    for kind, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        region = {"startLine": i1 + 1, "startColumn": 1, "endLine": i2 + 1, "endColumn": 1}
        replacement: dict[str, Any] = {"deletedRegion": region}
        if inserted := "".join(new[j1:j2]):
            replacement["insertedContent"] = {"text": inserted}
        replacements.append(replacement)
    return replacements

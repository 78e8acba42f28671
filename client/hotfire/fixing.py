"""`hotfire lint --fix`: which fixes may be written without asking, and the text of the config with them.

A fix is safe if it only says what the file says already in a form that DeepSpeed reads: a key's misspelt name, a
number written as text, a key that DeepSpeed does not read. What has alternatives, or changes what the job does,
is left to its owner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hotfire import patch as patches
from hotfire.dsconfig import edit
from hotfire.dsconfig.inspection import inspect
from hotfire.rules.evidence import Evidence, Finding, Fix, PatchOperation

_ROOT = "/deepspeed/"
_TRUE, _FALSE = ("true", "on", "yes"), ("false", "off", "no")


@dataclass(kw_only=True, slots=True)
class Fixed:
    """A config's text with the safe fixes in it."""

    text: str
    applied: list[Finding] = field(default_factory=list)
    left: list[tuple[Finding, str]] = field(default_factory=list)
    """Findings whose fix was not written, and why."""


def fix(evidence: Evidence, findings: Sequence[Finding]) -> Fixed:
    """Writes every safe fix into the text of the config.

    Args:
        evidence: With the config as it was read.
        findings: What the rules found in it.
    """
    config = evidence.config
    result = Fixed(text=(config.text or "") if config is not None else "")
    for finding in findings:
        if finding.fix is None or not finding.fix.patch:
            continue
        reason = why_not_safe(evidence, finding)
        if reason is None:
            try:
                result.text = edit.edit(result.text, finding.fix.patch)
            except edit.EditError as error:
                reason = str(error)
        if reason is None:
            result.applied.append(finding)
        else:
            result.left.append((finding, reason))
    return result


def why_not_safe(evidence: Evidence, finding: Finding) -> str | None:
    """Why a finding's fix is not to be written without asking; None: it is safe."""
    proposed = finding.fix
    assert proposed is not None
    if any(operation.path == _ROOT.rstrip("/") for operation in proposed.patch):
        return "it writes the whole file anew, without its comments"
    if any(not operation.path.startswith(_ROOT) for operation in proposed.patch):
        return "it changes something beside the keys of the DeepSpeed config"
    if finding.alternatives:
        return "there is more than one way"
    if evidence.config is None or evidence.config.given is None:
        return "the config cannot be read"
    given = evidence.config.given
    if _is_rename(given, proposed) or _is_same_value(given, proposed):
        return None
    if _is_idle(evidence, given, finding, proposed.patch):
        return None
    return "it changes what the job does"


def _is_rename(given: dict[str, Any], proposed: Fix) -> bool:
    """One key gets another name in the same section, and keeps its value."""
    removed = [operation for operation in proposed.patch if operation.op == "remove"]
    added = [operation for operation in proposed.patch if operation.op == "add"]
    if len(proposed.patch) != 2 or len(removed) != 1 or len(added) != 1:
        return False
    old, new = removed[0].path, added[0].path
    value = patches.get_pointer({"deepspeed": given}, old)
    return old.rpartition("/")[0] == new.rpartition("/")[0] and not patches.diff(value, added[0].value)


def _is_same_value(given: dict[str, Any], proposed: Fix) -> bool:
    return all(
        operation.op == "replace"
        and _alike(patches.get_pointer({"deepspeed": given}, operation.path), operation.value)
        for operation in proposed.patch
    )


def _alike(old: Any, new: Any) -> bool:
    """The same value in another type: "2" and 2, 1e9 and 1000000000, "true" and true."""
    if isinstance(new, bool):
        text = str(old).strip().lower()
        return text in (_TRUE if new else _FALSE) or (isinstance(old, int) and old == int(new))
    if isinstance(old, bool) or not isinstance(new, int | float):
        return isinstance(old, str) and isinstance(new, str) and old.strip().lower() == new.lower()
    try:
        number = float(old)
    except (TypeError, ValueError, OverflowError):
        return False
    return math.isfinite(number) and number == new


def _is_idle(
    evidence: Evidence, given: dict[str, Any], finding: Finding, patch: Sequence[PatchOperation]
) -> bool:
    """Keys are taken out that DeepSpeed does not read, or that have no effect where they stand."""
    if any(operation.op != "remove" for operation in patch):
        return False
    if finding.rule == "ignored-setting":
        return True
    version = evidence.cluster.versions.get("deepspeed") if evidence.cluster is not None else None
    unknown = {
        issue.pointer
        for issue in inspect(given, version)
        if issue.kind == "unknown-key" and issue.suggestion is None and issue.belongs_to is None
    }
    return all(operation.path.removeprefix("/deepspeed") in unknown for operation in patch)

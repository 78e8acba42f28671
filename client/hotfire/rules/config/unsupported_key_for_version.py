"""C104 unsupported-key-for-version."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.dsconfig.inspection import Issue
from hotfire.rules.config.common import (
    beside,
    config_of,
    dotted,
    drop,
    issues_of,
    move,
    named,
    place,
)
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, PatchOperation, Severity
from hotfire.rules.known_faults import offered_version


class UnsupportedKeyForVersion(Rule):
    """The target's DeepSpeed does not know a key that another version knows.

    Why:
        DeepSpeed 0.19.7 and 0.19.8 refuse the keys of features that were taken out (compression, Apex AMP, MiCS,
        elasticity and others), and an older DeepSpeed refuses inside a section what came later. At the top level an
        older version ignores a newer section: the feature is off.

    Example:
        `"compression_training": {...}` on 0.19.8; `"zero_optimization": {"zenflow": {...}}` before 0.17.5.

        Bad:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2,
            "zero_optimization": {"stage": 2, "zenflow": {"topk_ratio": 0.1}}
          },
          "cluster": {"versions": {"deepspeed": "0.17.4"}}
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2,
            "zero_optimization": {"stage": 2, "zenflow": {"topk_ratio": 0.1}}
          },
          "cluster": {"versions": {"deepspeed": "0.17.5"}}
        }
        ```

    Fix:
        Take the key out, or change the DeepSpeed version of the job.

    Source:
        The sources of 34 DeepSpeed releases, 0.14.5 to 0.19.8; deepspeed/runtime/config.py
        `_REMOVED_TOP_LEVEL_CONFIG_KEYS`, issue #8489; failure F87.
    """

    id = "C104"
    name = "unsupported-key-for-version"
    severity = Severity.ERROR
    needs = ("config",)
    blocks_start = True

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Looks for known keys that this version does not have."""
        for issue in issues_of(evidence):
            if issue.kind in ("removed-key", "newer-key", "older-key"):
                yield _finding(evidence, issue)


def _finding(evidence: Evidence, issue: Issue) -> Finding:
    key, name = issue.key, dotted(issue.pointer)
    assert key is not None
    if issue.kind == "newer-key":
        reason = f"needs DeepSpeed {key.since} or later"
    elif issue.refused:
        reason = f"this key breaks since {key.until}" + (f": {key.removed}" if key.removed else "")
    else:
        reason = f"without effect since {key.until}"
    effect = "refuses it" if issue.refused else "ignores it"
    severity = Severity.ERROR if issue.refused else Severity.WARNING
    return Finding(
        message=f"{named(evidence)} {effect}: {name} ({reason}).",
        severity=severity,
        location=place(evidence, issue.pointer),
        evidence={"key": name, "since": key.since, "until": key.until, "refused": issue.refused},
        fix=_fix(evidence, issue),
        alternatives=_other_version(evidence, issue),
    )


def _fix(evidence: Evidence, issue: Issue) -> Fix:
    key = issue.key
    if key is not None and key.replaced_by is not None and issue.kind == "older-key":
        new = beside(issue.pointer, key.replaced_by)
        return Fix(
            description=f"Use {dotted(new)}, its successor.",
            patch=move(config_of(evidence), issue.pointer, new),
        )
    return Fix(description="Take the key out.", patch=[drop(issue.pointer)])


def _other_version(evidence: Evidence, issue: Issue) -> list[Fix]:
    assert issue.key is not None
    if issue.kind != "newer-key" or issue.key.since is None:
        return []
    since = offered_version(evidence, at_least=issue.key.since)
    cluster = evidence.cluster
    given = cluster is not None and "deepspeed" in cluster.versions
    patch = [PatchOperation(op="replace", path="/cluster/versions/deepspeed", value=since)] if given else []
    return [Fix(description=f"Use DeepSpeed {issue.key.since} or later for the job.", patch=patch)]

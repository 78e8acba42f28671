"""Which finding is the cause and which the symptom: the order in which a report lists them."""

from __future__ import annotations

from collections.abc import Sequence

from hotfire.rules.evidence import Finding, Severity

_SEVERITY = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}
#: Symptom -> the rules that name its cause, where one of them has found something.
_CAUSES_OF_MECHANISM = {
    "no-supervised-tokens": ("D101", "D102", "D107", "D108", "D109", "D110", "D113", "D114"),
    "masked-micro-batch": ("D101",),
}
_CAUSES_OF_CRASH = {
    "token-out-of-range": ("D105", "M101", "M103"),
    "arguments-mismatch": ("C108",),
    "empty-optimizer": ("M104", "M106"),
    "loss-without-graph": ("M104", "M106"),
    "lora-targets": ("M104", "M106"),
    "untested-optimizer": ("C112",),
    "client-optimizer-offload": ("C112",),
    "cpu-adam-build": ("E102",),
    "extension-build": ("E102",),
    "zero3-checkpointing-peft": ("C116",),
    "loss-scale-minimum": ("R110",),
}
_CAUSES_OF_RULE = {
    "R106": ("M104", "M105", "M106"),
    "R101": ("M103", "D105", "M101"),
    "R110": ("C110", "C111", "R101"),
    "R114": ("C113", "C108"),
    "R119": ("M107",),
    "R120": ("M108",),
    "R121": ("E103", "C117"),
}
#: Run rules among themselves, the root first.
_RUN_ORDER = (
    *("R122", "R119", "R120", "R121", "R101", "R105", "R104", "R110", "R106", "R107"),
    *("R103", "R102", "R109", "R108", "R117", "R116", "R112", "R114", "R118", "R115", "R123"),
)
#: Where no row is left, these say why.
_ROW_RULES = {"D107", "D108", "D110", "D114"}
#: Without these nothing else could be looked at.
_NOTHING_TO_READ = ("C101", "M110", "D119")


def by_cause(findings: Sequence[Finding]) -> list[Finding]:
    """The findings with causes before symptoms, within each severity."""
    causes = _named_causes(findings)
    return sorted(
        findings,
        key=lambda finding: (
            _SEVERITY[finding.severity or Severity.ERROR],
            _rank(finding, causes),
            _RUN_ORDER.index(finding.rule_id) if finding.rule_id in _RUN_ORDER else len(_RUN_ORDER),
            finding.rule_id,
        ),
    )


def is_symptom(finding: Finding) -> bool:
    """It tells what happened in a trial, not what is wrong in the job."""
    return finding.rule_id[:1] in ("R", "Z")


def _rank(finding: Finding, causes: set[str]) -> int:
    rule_id = finding.rule_id
    if rule_id in _NOTHING_TO_READ and not (rule_id == "D119" and causes & _ROW_RULES):
        return 0
    if rule_id in causes:
        return 1
    if rule_id == "R122" and finding.evidence.get("known_cause"):
        # A crash whose cause is known, and which no other finding explains.
        explained_by = _CAUSES_OF_CRASH.get(str(finding.evidence["known_cause"]), ())
        return 4 if any(cause in causes for cause in explained_by) else 2
    if not is_symptom(finding):
        return 3
    if rule_id in ("Z103", "Z104"):
        return 5
    if rule_id == "Z102":
        return 6
    return 7


def _named_causes(findings: Sequence[Finding]) -> set[str]:
    """Rules whose finding explains a symptom that was seen."""
    present = {finding.rule_id for finding in findings}
    wanted = set(_ROW_RULES) if "D119" in present else set()
    for finding in findings:
        if finding.severity is Severity.INFO:
            continue
        wanted.update(_CAUSES_OF_RULE.get(finding.rule_id, ()))
        wanted.update(_CAUSES_OF_MECHANISM.get(str(finding.evidence.get("mechanism")), ()))
        wanted.update(_CAUSES_OF_CRASH.get(str(finding.evidence.get("known_cause")), ()))
    return wanted & present

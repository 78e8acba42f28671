"""The rule engine: the registry, and `judge`.

A rule is a small object. The engine runs it when the parts of the evidence it needs are there; otherwise the
rule is SKIPPED with that as the reason. A rule's own exception becomes outcome ERROR. Neither counts as
passed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from hotfire.rules.evidence import Check, Evidence, Finding, Judgement, Outcome, Severity
from hotfire.rules.order import by_cause
from hotfire.rules.verdict import headline_of, verdict_of

CATEGORIES = {"C": "config", "M": "model", "D": "data", "R": "run", "Z": "zero", "E": "environment"}
_PARTS = {"config", "training", "cluster", "plan", "model", "data", "trials", "environment"}
_MISSING = {
    "config": "no DeepSpeed config was given",
    "training": "no training arguments were given",
    "cluster": "no target cluster was given",
    "plan": "no plan was given",
    "model": "the model was not looked at",
    "data": "no data sample was looked at",
    "trials": "no trial was run",
    "environment": "the worker's environment is not known",
}


class Skip(Exception):  # noqa: N818 - it is an outcome, not an error
    """Raised by a rule that finds, while examining, that it cannot judge. The text is the reason."""


class Rule:
    """Base of every rule. A subclass is its own documentation page: its docstring.

    The docstring has a summary line and the sections `Why`, `Example`, `Fix` and `Source`.
    """

    id: ClassVar[str]
    """Stable id, such as "D101"; never reused."""
    name: ClassVar[str]
    """Kebab name, such as "no-supervised-tokens": part of the contract."""
    severity: ClassVar[Severity]
    needs: ClassVar[tuple[str, ...]]
    """Attributes of `Evidence` that must not be None."""
    is_static: ClassVar[bool] = False
    """It judges what the spec and a config.json say, as config rules do: `hotfire lint` runs it."""
    blocks_start: ClassVar[bool] = False
    """An ERROR of this rule means that the job, as given, cannot start."""

    def __init_subclass__(cls) -> None:
        """Checks the rule when its class is made, so that a bad one cannot be registered."""
        if inspect.isabstract(cls) or cls.__name__.startswith("_"):
            return
        if not re.fullmatch(r"[CMDRZE]\d{3}", cls.id):
            raise TypeError(f"{cls.__name__}: id {cls.id!r} is not like C101")
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", cls.name):
            raise TypeError(f"{cls.__name__}: name {cls.name!r} is not kebab case")
        if unknown := set(cls.needs) - _PARTS:
            raise TypeError(f"{cls.__name__}: unknown needs {sorted(unknown)}")
        page = cls.__doc__ or ""
        for section in ("Why:", "Example:", "Fix:", "Source:"):
            if section not in page:
                raise TypeError(f"{cls.__name__}: its docstring has no section {section!r}")

    @property
    def category(self) -> str:
        """`config`, `model`, `data`, `run`, `zero` or `environment`."""
        return CATEGORIES[self.id[0]]

    @property
    def summary(self) -> str:
        """First line of the page."""
        return self.documentation.splitlines()[0]

    @property
    def documentation(self) -> str:
        """The rule's page, Markdown."""
        return inspect.cleandoc(self.__doc__ or "")

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Yields what is wrong. Raises `Skip` where it cannot tell."""
        raise NotImplementedError


def all_rules() -> tuple[Rule, ...]:
    """Every registered rule, by id."""
    from hotfire.rules.registry import RULES

    return RULES


def find_rule(key: str) -> Rule | None:
    """The rule with this id or name, or None."""
    return next((r for r in all_rules() if key in (r.id, r.id.lower(), r.name)), None)


def judge(
    evidence: Evidence,
    *,
    rules: Sequence[Rule] | None = None,
    only: Callable[[Rule], bool] | None = None,
    only_reason: str = "not part of this check",
) -> Judgement:
    """Runs every rule over the evidence.

    Args:
        evidence: What is known; absent parts make the rules that need them SKIPPED.
        rules: The rules to list; default: every registered one.
        only: Which of them to run; the others are SKIPPED.
        only_reason: The reason of those.

    Returns:
        Findings (errors first, causes before symptoms), one check per rule, the verdict and its sentence.
    """
    findings: list[Finding] = []
    checks: list[Check] = []
    for rule in all_rules() if rules is None else rules:
        found, check = _run(rule, evidence, only, only_reason)
        findings += found
        checks.append(check)
    findings = by_cause(findings)
    verdict = verdict_of(evidence, findings, checks)
    return Judgement(
        findings=findings,
        checks=checks,
        verdict=verdict,
        headline=headline_of(evidence, verdict, findings, checks),
    )


def _run(
    rule: Rule, evidence: Evidence, only: Callable[[Rule], bool] | None, only_reason: str
) -> tuple[list[Finding], Check]:
    def check(outcome: Outcome, reason: str | None = None) -> Check:
        return Check(rule=rule.name, rule_id=rule.id, outcome=outcome, reason=reason)

    if only is not None and not only(rule):
        return [], check(Outcome.SKIPPED, only_reason)
    for part in rule.needs:
        if getattr(evidence, part) is None:
            return [], check(Outcome.SKIPPED, evidence.unavailable.get(part, _MISSING[part]))
    try:
        found = list(rule.examine(evidence))
    except Skip as skip:
        return [], check(Outcome.SKIPPED, str(skip))
    except Exception as error:  # noqa: BLE001 - a broken rule must not take the others with it
        return [], check(Outcome.ERROR, f"the rule itself failed: {type(error).__name__}: {error}"[:500])
    for finding in found:
        finding.rule, finding.rule_id = rule.name, rule.id
        finding.severity = finding.severity or rule.severity
        if finding.blocks_start is None:
            finding.blocks_start = rule.blocks_start and finding.severity is Severity.ERROR
        _add_line(finding, evidence)
    return found, check(Outcome.FOUND if found else Outcome.PASSED)


def _add_line(finding: Finding, evidence: Evidence) -> None:
    """Line and column of the DeepSpeed text, for a finding that points at a key of it (or at its section)."""
    place = finding.location
    if place is None or place.line is not None or place.config_path is None or evidence.config is None:
        return
    pointer = place.config_path.removeprefix("/deepspeed")
    if pointer == place.config_path:
        return
    while pointer:
        if (position := evidence.config.positions.get(pointer)) is not None:
            place.line, place.column = position
            return
        pointer = pointer.rpartition("/")[0]

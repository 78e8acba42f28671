"""C105 wrong-type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.dsconfig.inspection import Issue, inspect
from hotfire.dsconfig.values import plain
from hotfire.rules.config.common import config_of, dotted, drop, named, place, put, version_of
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Severity

_LOSS_SCALING = ("/fp16/loss_scale_window", "/fp16/min_loss_scale")


class WrongType(Rule):
    """A value is not what its key takes: wrong type, out of range, or not allowed beside another one.

    Why:
        YAML reads `1e-5` as text, templates put numbers in quotes, editors leave `null` behind. DeepSpeed refuses
        some of these at once, trips over others at the first step (`'<=' not supported between 'float' and 'str'`),
        and reinterprets the rest: any text that is not empty counts as true where nothing checks it.

    Example:
        `"lr": "1e-5"`, `"reduce_bucket_size": "5e8"`, `"min_loss_scale": 0.5`, `"stage": 4`.

    Fix:
        Write the number as a number; take the key out where no value was meant.

    Source:
        The pydantic models of deepspeed/runtime/zero, precision_config.py, compile, monitor (0.14.5 to 0.19.8); places
        of use in config.py, engine.py, lr_schedules.py; failures F32, F74, F91.
    """

    id = "C105"
    name = "wrong-type"
    severity = Severity.ERROR
    needs = ("config",)
    blocks_start = True

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Checks every value against the key table."""
        config = config_of(evidence)
        for issue in inspect(config, version_of(evidence)):
            if issue.kind == "combination":
                yield Finding(
                    message=f"{named(evidence)} refuses this combination: {issue.detail}.",
                    location=place(evidence, issue.pointer),
                    evidence={"key": dotted(issue.pointer)},
                    fix=Fix(description=f"Take {dotted(issue.pointer)} out.", patch=[drop(issue.pointer)]),
                )
            elif issue.kind in ("wrong-type", "out-of-range") and not _is_loss_scale(issue):
                yield _finding(evidence, config, issue)


def _is_loss_scale(issue: Issue) -> bool:
    """C110 judges these: DeepSpeed checks them by hand, differently from every other number."""
    return issue.pointer == "/fp16/loss_scale" or (
        issue.pointer in _LOSS_SCALING and isinstance(issue.value, bool)
    )


def _finding(evidence: Evidence, config: dict[str, Any], issue: Issue) -> Finding:
    misfit, name = issue.misfit, dotted(issue.pointer)
    assert misfit is not None
    message = f"{name} is {_shown(issue.value)}; it must be {misfit.expected}."
    if misfit.refused:
        message += f" {named(evidence)} refuses it."
    elif isinstance(misfit.taken, bool) and not isinstance(misfit.better, bool):
        message += f" Nothing checks it: it counts as {plain(misfit.taken)}."
    elif misfit.better is not None and misfit.better != misfit.taken and isinstance(misfit.taken, bool):
        message += f" Nothing checks it: it counts as {plain(misfit.taken)}, not as {plain(misfit.better)}."
    else:
        message += f" {named(evidence)} takes it as {plain(misfit.taken)}."
    return Finding(
        message=message,
        severity=Severity.ERROR if misfit.refused else Severity.WARNING,
        location=place(evidence, issue.pointer),
        evidence={
            "key": name,
            "value": plain(issue.value),
            "expected": misfit.expected,
            "refused": misfit.refused,
        },
        fix=_fix(config, issue),
    )


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {plain(value)}"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else plain(value)


def _fix(config: dict[str, Any], issue: Issue) -> Fix:
    misfit = issue.misfit
    assert misfit is not None
    better = misfit.better if misfit.better is not None or misfit.refused else misfit.taken
    if better is None or (misfit.range and not isinstance(better, str)):
        return Fix(
            description="Take the key out: its default holds.",
            patch=[drop(issue.pointer)],
        )
    return Fix(description=f"Write {plain(better)}.", patch=put(config, issue.pointer, better))

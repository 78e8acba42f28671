"""C102 unknown-key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.dsconfig.inspection import Issue
from hotfire.dsconfig.values import plain
from hotfire.rules.config.common import (
    LOADERS,
    beside,
    config_of,
    dotted,
    drop,
    issues_of,
    move,
    named,
    place,
    strict_since,
)
from hotfire.rules.config.job import GIVE_THE_LOOP, refused
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Severity

#: Names that real configs use, too far from the known ones to be told by their letters.
_MEANT = {
    "comms_config": "comms_logger",
    "monitor_config": "tensorboard, wandb, csv_monitor or comet",
    "cpu_offload_params": "offload_param",
    "cpu_offload_pin_memory": "offload_optimizer.pin_memory",
    "opt_level": "amp.opt_level (Apex)",
    "fp16_opt_level": "amp.opt_level (Apex)",
    "max_grad_norm": "gradient_clipping",
    "learning_rate": "optimizer.params.lr",
}


class UnknownKey(Rule):
    """The config has a key that DeepSpeed does not know.

    Why:
        At the top level DeepSpeed looks up the names it knows and nothing else: with a misspelt section name the
        whole section is off, without a word. `zero_optimisation` trains without ZeRO. Inside most sections an
        unknown key raises a ValidationError. Keys that begin with `_` are comments.

    Example:
        `"zero_optimisation": {"stage": 2}` (ignored) or `"zero_optimization": {"stge": 2}` (refused).

        Bad:

        ```json
        {"deepspeed": {"train_micro_batch_size_per_gpu": 2, "zero_optimisation": {"stage": 2}}}
        ```

        Good:

        ```json
        {"deepspeed": {"train_micro_batch_size_per_gpu": 2, "zero_optimization": {"stage": 2}}}
        ```

    Fix:
        Rename the key to the known one that is nearest, or take it out.

    Source:
        deepspeed/runtime/config.py (`get_scalar_param` and its callers), config_utils.py (`extra="forbid"`),
        precision_config.py (strict since 0.17.1), lr_schedules.py; failure F75.
    """

    id = "C102"
    name = "unknown-key"
    severity = Severity.ERROR
    needs = ("config",)
    blocks_start = True

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Walks the config beside the key table."""
        config = config_of(evidence)
        for issue in issues_of(evidence):
            if issue.kind == "unknown-key":
                yield _finding(evidence, config, issue)


def _finding(evidence: Evidence, config: dict[str, Any], issue: Issue) -> Finding:
    name = dotted(issue.pointer)
    parts = [f"{named(evidence)} knows no key {name}"]
    if issue.suggestion is not None:
        parts[0] += f"; {dotted(beside(issue.pointer, issue.suggestion))} is known"
    elif issue.belongs_to is not None:
        where = dotted(issue.belongs_to) or "the top level"
        parts[0] += f"; a key of that name belongs to {where}"
    elif (meant := _MEANT.get(issue.pointer.rpartition("/")[2])) is not None:
        parts[0] += f"; {meant} is known"
    severity = Severity.ERROR
    if issue.late:
        severity = refused(evidence)
        parts.append(issue.detail)
        if evidence.loop is None:
            parts.append(GIVE_THE_LOOP.strip(" ."))
    elif issue.detail:
        parts.append(issue.detail)
    elif issue.refused:
        since = strict_since(issue.pointer)
        breaks = f": this key breaks since {since}" if since is not None else ""
        parts.append(f"It refuses unknown keys in this section{breaks}")
    elif issue.section_off:
        parts.append("It ignores the name, so that the whole section is off")
    else:
        severity = Severity.WARNING
        parts.append("It ignores the key")
    return Finding(
        message=". ".join(parts) + ".",
        severity=severity,
        # With a section off because of its name a job starts, and can be tried; only the loaders of the Trainer
        # and accelerate insist on this one section.
        blocks_start=severity is Severity.ERROR
        and (
            issue.refused
            or issue.late
            or (issue.suggestion == "zero_optimization" and evidence.loop in LOADERS)
        ),
        location=place(evidence, issue.pointer),
        evidence={
            "key": name,
            "value": plain(issue.value),
            "nearest": issue.suggestion,
            "refused": issue.refused,
        },
        fix=_fix(config, issue),
    )


def _fix(config: dict[str, Any], issue: Issue) -> Fix:
    if issue.suggestion is not None:
        new = beside(issue.pointer, issue.suggestion)
        return Fix(description=f"Rename it to {dotted(new)}.", patch=move(config, issue.pointer, new))
    return Fix(description="Take the key out.", patch=[drop(issue.pointer)])

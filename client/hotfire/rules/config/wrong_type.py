"""C105 wrong-type."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from hotfire.dsconfig.inspection import Issue
from hotfire.dsconfig.values import plain
from hotfire.dsconfig.versions import parse
from hotfire.rules.config.argument_ranges import misfits
from hotfire.rules.config.common import (
    config_of,
    dotted,
    drop,
    issues_of,
    named,
    place,
    put,
    strict_since,
    version_of,
)
from hotfire.rules.config.job import GIVE_THE_LOOP, refused
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, PatchOperation, Severity

#: Read without regard to case; every other name is looked up in torch.optim (engine.py, _configure_basic_optimizer).
_OWN_OPTIMIZERS = (
    "adam", "adamw", "lamb", "onebitadam", "onebitlamb", "zerooneadam", "adagrad", "lion", "muadam", "muadamw",
    "musgd", "muon",
)  # fmt: skip
#: In the sources of 0.19.6, and not in those of 0.19.8 (0.19.7 was not to be had).
_ONE_BIT, _ONE_BIT_UNTIL = ("onebitadam", "onebitlamb", "zerooneadam"), "0.19.8"
_TORCH_OPTIMIZERS = (
    "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "LBFGS", "Muon", "NAdam", "RAdam",
    "RMSprop", "Rprop", "SGD", "SparseAdam",
)  # fmt: skip
_LOSS_SCALING = ("/fp16/loss_scale_window", "/fp16/min_loss_scale")


class WrongType(Rule):
    """A value is not what its key takes: wrong type, out of range, or not allowed beside another one.

    Why:
        YAML reads `1e-5` as text, templates put numbers in quotes, editors leave `null` behind. DeepSpeed refuses
        some of these at once, trips over others at the first step (`'<=' not supported between 'float' and 'str'`),
        and reinterprets the rest: any text that is not empty counts as true where nothing checks it.

    Example:
        `"lr": "1e-5"`, `"reduce_bucket_size": "5e8"`, `"min_loss_scale": 0.5`, `"stage": 4`; `learning_rate: -1e-4`
        among the training arguments.

        Bad:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2,
            "zero_optimization": {"stage": 2, "reduce_bucket_size": "5e8"}
          }
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2,
            "zero_optimization": {"stage": 2, "reduce_bucket_size": 500000000.0}
          }
        }
        ```

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
        for issue in issues_of(evidence):
            if issue.kind == "combination":
                yield Finding(
                    message=f"{named(evidence)} refuses this combination: {issue.detail}.",
                    location=place(evidence, issue.pointer),
                    evidence={"key": dotted(issue.pointer)},
                    fix=Fix(description=f"Take {dotted(issue.pointer)} out.", patch=[drop(issue.pointer)]),
                )
            elif issue.kind in ("wrong-type", "out-of-range") and not _is_loss_scale(issue):
                yield _finding(evidence, config, issue)
        yield from _optimizer_type(evidence, config)
        for name, value, expected in misfits(evidence.training or {}):
            yield Finding(
                message=f"{name} is {_shown(value)}; it must be {expected}.",
                location=Location(config_path=f"/training/{name}"),
                evidence={"key": name, "value": value, "expected": expected},
                fix=Fix(
                    description="Take it out: the default of TrainingArguments holds.",
                    patch=[PatchOperation(op="remove", path=f"/training/{name}")],
                ),
            )


def _optimizer_type(evidence: Evidence, config: dict[str, Any]) -> Iterable[Finding]:
    section = config.get("optimizer")
    name = section.get("type") if isinstance(section, dict) else None
    if not isinstance(name, str) or name in _TORCH_OPTIMIZERS:
        return
    if name.lower() in _ONE_BIT and parse(version_of(evidence)) >= parse(_ONE_BIT_UNTIL):
        yield _one_bit(evidence, name)
        return
    if name.lower() in _OWN_OPTIMIZERS:
        return
    known = {n.lower(): n for n in (*_OWN_OPTIMIZERS, *_TORCH_OPTIMIZERS)}
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.75)
    fix = Fix(description="Name an optimizer that DeepSpeed or torch.optim has.")
    if near:
        better = known[near[0]]
        fix = Fix(description=f"Write {better}.", patch=put(config, "/optimizer/type", better))
    yield Finding(
        message=f"optimizer.type is {_shown(name)}; {named(evidence)} has no such optimizer, and torch.optim neither.",
        location=place(evidence, "/optimizer/type"),
        evidence={"key": "optimizer.type", "value": name, "nearest": known[near[0]] if near else None},
        fix=fix,
    )


def _one_bit(evidence: Evidence, name: str) -> Finding:
    """DeepSpeedConfig takes the file; the engine fails when it makes the optimizer, unless the code hands one over."""
    return Finding(
        message=f"optimizer.type is {_shown(name)}; the 1-bit optimizers were taken out in {_ONE_BIT_UNTIL}, and "
        f"{named(evidence)} cannot make it." + (GIVE_THE_LOOP if evidence.loop is None else ""),
        severity=refused(evidence),
        location=place(evidence, "/optimizer/type"),
        evidence={"key": "optimizer.type", "value": name, "until": _ONE_BIT_UNTIL},
        fix=Fix(description="Use AdamW.", patch=put(config_of(evidence), "/optimizer/type", "AdamW")),
    )


def _is_loss_scale(issue: Issue) -> bool:
    """C110 judges these: DeepSpeed checks them by hand, differently from every other number."""
    if issue.pointer == "/fp16/loss_scale":
        return issue.misfit is None or issue.misfit.refused or isinstance(issue.value, bool)
    return issue.pointer in _LOSS_SCALING and isinstance(issue.value, bool)


def _finding(evidence: Evidence, config: dict[str, Any], issue: Issue) -> Finding:
    misfit, name = issue.misfit, dotted(issue.pointer)
    assert misfit is not None
    message = f"{name} is {_shown(issue.value)}; it must be {misfit.expected}."
    if misfit.refused:
        message += f" {named(evidence)} refuses it{_since(issue)}."
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


def _since(issue: Issue) -> str:
    """Words such as: this key breaks since 0.17.1. Empty where older versions refuse the value, too."""
    bounds = issue.key.bound_since if issue.key is not None and issue.misfit and issue.misfit.range else None
    since = bounds or strict_since(issue.pointer)
    return f"; this key breaks since {since}" if since is not None else ""


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

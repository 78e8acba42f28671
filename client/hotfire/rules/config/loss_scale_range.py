"""C110 loss-scale-range."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from hotfire.dsconfig.values import plain
from hotfire.rules.config.common import config_of, drop, is_on, named, place
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Severity

_LARGEST_FP16 = 65504.0
_SMALLEST_FP16 = 2.0**-24
_LARGEST_POWER = 127
_REFUSED_ABOVE = _LARGEST_FP16 / _SMALLEST_FP16


class LossScaleRange(Rule):
    """The loss scale of fp16 cannot work.

    Why:
        An infinite, negative or undefined scale makes every gradient useless; a window of 0 is a division by zero at
        the first update; a floor of 0 lets the scale fall to nothing, and the weights stop. A static scale above
        65504 overflows every gradient element above 65504 / scale, and then no step is ever applied: unlike the
        dynamic scale it never comes down.

    Example:
        `"fp16": {"enabled": true, "loss_scale": 1e12}` or `"loss_scale_window": 0`.

        Bad:

        ```json
        {"deepspeed": {"train_micro_batch_size_per_gpu": 2, "fp16": {"enabled": true, "loss_scale": 1e12}}}
        ```

        Good:

        ```json
        {"deepspeed": {"train_micro_batch_size_per_gpu": 2, "fp16": {"enabled": true, "loss_scale": 0}}}
        ```

    Fix:
        `loss_scale: 0` is the dynamic scale; the defaults are window 1000, floor 1, initial power 16.

    Source:
        `DeepSpeedFP16Config`, deepspeed/runtime/precision_config.py (checked since 0.18.8 and 0.19.3),
        fp16/loss_scaler.py; failure F32.
    """

    id = "C110"
    name = "loss-scale-range"
    severity = Severity.ERROR
    needs = ("config",)
    blocks_start = True

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Checks the numbers of the fp16 section."""
        section = config_of(evidence).get("fp16")
        if not isinstance(section, dict):
            return
        on = is_on(section) or (
            section.get("enabled") == "auto" and bool((evidence.training or {}).get("fp16"))
        )
        scale, problem = _scale(section.get("loss_scale", 0))
        if problem is not None:
            yield _finding(evidence, section, "loss_scale", problem)
        for name in ("loss_scale_window", "min_loss_scale"):
            if isinstance(section.get(name), bool):
                yield _finding(evidence, section, name, "it must be a whole number, not true or false")
        if not on:
            return
        if scale is not None and scale > 0:
            yield from _static(evidence, section, scale)
        elif scale == 0:
            yield from _dynamic(evidence, section)


def _scale(value: Any) -> tuple[float | None, str | None]:
    """The scale, and what is wrong with it. "auto" counts as not given."""
    if value == "auto":
        return 0.0, None
    if isinstance(value, bool):
        return None, "it must be a number, not true or false"
    try:
        scale = float(value)
    except (TypeError, ValueError):
        return None, "it must be a number"
    if not math.isfinite(scale):
        return None, "it must be finite"
    return (scale, None) if scale >= 0 else (None, "it must be 0 (dynamic) or more")


def _static(evidence: Evidence, section: dict[str, Any], scale: float) -> Iterable[Finding]:
    if scale <= _LARGEST_FP16:
        return
    sure = scale >= _REFUSED_ABOVE
    limit = _LARGEST_FP16 / scale
    why = (
        "every gradient that fp16 can hold overflows, and no step is ever applied"
        if sure
        else f"every gradient element above {limit:.2g} overflows, and a static scale never comes down"
    )
    finding = _finding(evidence, section, "loss_scale", why)
    finding.severity = Severity.ERROR if sure else Severity.WARNING
    yield finding


def _dynamic(evidence: Evidence, section: dict[str, Any]) -> Iterable[Finding]:
    for name, why in (
        ("loss_scale_window", "it must be greater than 0, or the first update divides by zero"),
        ("min_loss_scale", "it must be greater than 0, or the scale falls to nothing"),
    ):
        value = section.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
            yield _finding(evidence, section, name, why)
    power = section.get("initial_scale_power")
    if isinstance(power, int | float) and not isinstance(power, bool) and power > _LARGEST_POWER:
        finding = _finding(
            evidence,
            section,
            "initial_scale_power",
            "2 to that power is infinite in fp32: the first steps are lost",
        )
        finding.severity = Severity.WARNING
        yield finding


def _finding(evidence: Evidence, section: dict[str, Any], name: str, why: str) -> Finding:
    default = {"loss_scale": "0, the dynamic scale", "loss_scale_window": 1000, "min_loss_scale": 1}.get(
        name, 16
    )
    return Finding(
        message=f"fp16.{name} is {plain(section.get(name))} for {named(evidence)}: {why}.",
        location=place(evidence, f"/fp16/{name}"),
        evidence={name: plain(section.get(name))},
        fix=Fix(description=f"Take it out: the default is {default}.", patch=[drop(f"/fp16/{name}")]),
    )

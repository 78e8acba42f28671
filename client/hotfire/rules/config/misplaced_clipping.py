"""C118 misplaced-clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from hotfire.dsconfig.batch_size import number
from hotfire.rules.config.common import config_of, drop, place, put, value_at
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, PatchOperation, Severity
from hotfire.rules.remedy import set_value

_CLIPPING = "/gradient_clipping"
_IN_OPTIMIZER = "/optimizer/params/max_grad_norm"


class MisplacedClipping(Rule):
    """Gradient clipping is not what was meant.

    Why:
        Clipping is `gradient_clipping` at the top level. `max_grad_norm` among the optimizer's parameters is refused
        when the engine makes the optimizer; `max_grad_norm` at the top level, or the clipping of the config beside
        an argument that says otherwise, is silently the other value. A clipping of 0 is no clipping, a negative one
        or NaN turns every gradient around or destroys it.

    Example:
        `"optimizer": {"type": "AdamW", "params": {"lr": 1e-5, "max_grad_norm": 1.0}}`.

        Bad:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2,
            "optimizer": {"type": "AdamW", "params": {"lr": 1e-05, "max_grad_norm": 1.0}}
          }
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2, "optimizer": {"type": "AdamW", "params": {"lr": 1e-05}},
            "gradient_clipping": 1.0
          }
        }
        ```

    Fix:
        `"gradient_clipping": 1.0` at the top level ("auto" with the HF Trainer).

    Source:
        deepspeed/runtime/engine.py `_configure_basic_optimizer` (0.15.4 to 0.19.8), config.py `_do_warning_check`,
        DeepSpeed commits 442166559, 005afe124; failure F88.
    """

    id = "C118"
    name = "misplaced-clipping"
    severity = Severity.WARNING
    needs = ("config",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Looks at the places where people write it, then at the value."""
        config, training = config_of(evidence), evidence.training or {}
        yield from _in_optimizer(evidence, config)
        given = config.get("gradient_clipping")
        value = number(given)
        bad = isinstance(given, float) and not math.isfinite(given)
        if bad or (value is not None and value < 0):
            yield Finding(
                message=f"gradient_clipping is {given}: it must be a number above 0, or 0 for none.",
                location=place(evidence, _CLIPPING),
                evidence={"gradient_clipping": str(given)},
                fix=Fix(description="Clip at 1.0.", patch=put(config, _CLIPPING, 1.0)),
            )
            return
        wanted = number(training.get("max_grad_norm"))
        # The HF Trainer refuses a difference (C108); the other loops take the config's.
        if evidence.loop not in ("ACCELERATE", "DEEPSPEED") or wanted is None or value is None:
            return
        if (wanted > 0) is not (value > 0):
            yield _against_intent(evidence, config, value, wanted)


def _in_optimizer(evidence: Evidence, config: dict[str, Any]) -> Iterable[Finding]:
    wanted = value_at(config, _IN_OPTIMIZER)
    if wanted is None:
        return
    clips = config.get("gradient_clipping")
    patch = [drop(_IN_OPTIMIZER)]
    if clips is None and isinstance(number(wanted), float):
        patch += put(config, _CLIPPING, wanted)
    yield Finding(
        message=f"optimizer.params.max_grad_norm ({wanted}) is not for an optimizer: DeepSpeed refuses it when it "
        "makes the optimizer. Clipping is gradient_clipping, at the top level"
        + (f", which is {clips} here." if clips is not None else "."),
        location=place(evidence, _IN_OPTIMIZER),
        evidence={"max_grad_norm": wanted, "gradient_clipping": clips},
        fix=Fix(
            description="Move it to gradient_clipping." if clips is None else "Take it out.",
            patch=patch,
        ),
    )


def _against_intent(evidence: Evidence, config: dict[str, Any], value: float, wanted: float) -> Finding:
    clips = value > 0
    there = "gradient_clipping" in config
    return Finding(
        message=f"The config clips at {value:g} and max_grad_norm is {wanted:g}: DeepSpeed "
        + (
            "clips though the arguments say not to."
            if clips
            else "does not clip though the arguments say so."
        ),
        location=place(evidence, _CLIPPING) if there else Location(config_path="/training/max_grad_norm"),
        evidence={"gradient_clipping": value, "max_grad_norm": wanted},
        fix=Fix(description=f"Let the config clip at {wanted:g}.", patch=put(config, _CLIPPING, wanted)),
        alternatives=[_as_config(evidence, value)],
    )


def _as_config(evidence: Evidence, value: float) -> Fix:
    patch: list[PatchOperation] = [set_value(evidence, "/training/max_grad_norm", value)]
    return Fix(description=f"Let the arguments say what happens: {value:g}.", patch=patch)

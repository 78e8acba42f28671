"""C106 unresolved-auto."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.dsconfig import autos, effective
from hotfire.rules.config.common import config_of, dotted, drop, place, put, value_at
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Severity
from hotfire.rules.wording import counted, listed

_TYPE_ERRORS = (
    "/train_batch_size",
    "/train_micro_batch_size_per_gpu",
    "/gradient_accumulation_steps",
    "/gradient_clipping",
    "/steps_per_print",
    "/gradient_predivide_factor",
)


class UnresolvedAuto(Rule):
    """A value is "auto" and nothing will replace it.

    Why:
        "auto" is a word of the HF Trainer and accelerate; DeepSpeed does not know it. In a section it drops the key,
        so that `"bf16": {"enabled": "auto"}` trains in fp32 without a word. In the batch sizes it is a TypeError.
        And the two that know the word know it for certain keys only: for any other accelerate raises a ValueError.

    Example:
        `"bf16": {"enabled": "auto"}` in a plain DeepSpeed loop; `"bfloat16": {"enabled": "auto"}` with the HF
        Trainer, which fills `bf16` only.

        Bad:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 2, "bf16": {"enabled": "auto"}},
          "training": {"loop": "deepspeed"}
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {"train_micro_batch_size_per_gpu": 2, "bf16": {"enabled": true}},
          "training": {"loop": "deepspeed"}
        }
        ```

    Fix:
        Write the value; the patch has what the HF Trainer would have filled in.

    Source:
        transformers/integrations/deepspeed.py (5.23), accelerate `DeepSpeedPlugin.fill_match` and
        `deepspeed_config_process` (1.15), deepspeed/runtime/config_utils.py; failure F76, measured on 0.19.8.
    """

    id = "C106"
    name = "unresolved-auto"
    severity = Severity.ERROR
    needs = ("config",)
    blocks_start = True

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Compares each "auto" with what the loop replaces."""
        config = config_of(evidence)
        loop = evidence.loop
        if loop is None:
            yield from _unknown_loop(evidence, config)
            return
        found = autos.unresolved(config, loop, hidden_size_known=_hidden_size_known(evidence))
        filled = effective.resolve(
            config,
            training=evidence.training or {},
            loop="TRAINER",
            model_config=evidence.model.config if evidence.model is not None else None,
            world_size=evidence.cluster.world_size if evidence.cluster is not None else None,
        ).config
        for pointer in found:
            yield _finding(evidence, config, filled, pointer, loop)


def _finding(
    evidence: Evidence, config: dict[str, Any], filled: dict[str, Any], pointer: str, loop: str
) -> Finding:
    name = dotted(pointer)
    if loop != "DEEPSPEED":
        who = "the HF Trainer nor accelerate" if loop == "TRAINER" else "accelerate nor DeepSpeed"
        effect = f"neither {who} has a value for it, and accelerate raises a ValueError"
        if pointer in autos.HIDDEN_SIZE_KEYS:
            effect = "it is filled from the model's hidden_size, and this model's config has none"
    elif pointer in _TYPE_ERRORS or pointer.startswith(("/optimizer/params/", "/scheduler/params/")):
        effect = "a plain DeepSpeed loop replaces nothing, and DeepSpeed trips over the text (TypeError)"
    else:
        effect = "a plain DeepSpeed loop replaces nothing, and DeepSpeed drops the key: its default holds"
        if name in ("bf16.enabled", "fp16.enabled", "bfloat16.enabled"):
            effect += " and the job trains in fp32"
    return Finding(
        message=f'{name} stays "auto": {effect}.',
        location=place(evidence, pointer),
        evidence={"key": name, "loop": loop},
        fix=_fix(config, filled, pointer),
    )


def _fix(config: dict[str, Any], filled: dict[str, Any], pointer: str) -> Fix:
    known = pointer.replace("/bfloat16/", "/bf16/", 1)
    value = value_at(filled, known)
    inferred = pointer == "/train_batch_size"  # DeepSpeed multiplies it out itself
    if value in (None, "auto") or inferred or pointer.rpartition("/")[2].isdecimal():
        target = pointer.rpartition("/")[0] if pointer.rpartition("/")[2].isdecimal() else pointer
        return Fix(description=f"Take {dotted(target)} out: the default holds.", patch=[drop(target)])
    shown = {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value
    return Fix(
        description=f"Write the value that the arguments give: {shown}.", patch=put(config, pointer, value)
    )


def _unknown_loop(evidence: Evidence, config: dict[str, Any]) -> Iterable[Finding]:
    found = [pointer for pointer in autos.find(config) if not autos.is_own_word(pointer)]
    if not found:
        return
    nobody = [pointer for pointer in found if pointer not in autos.TRAINER]
    message = f'{counted(len(found), "value")} "auto" ({listed(map(dotted, found))})'
    if nobody:
        message += f"; for {listed(map(dotted, nobody))} neither the HF Trainer nor accelerate has a value"
    yield Finding(
        message=message
        + '. DeepSpeed itself does not know "auto". A warning only, as it hangs on who loads the file: say so with '
        "the loop (trainer, accelerate or deepspeed).",
        severity=Severity.WARNING,
        location=place(evidence, (nobody or found)[0]),
        evidence={"keys": [dotted(p) for p in found], "nobody_resolves": [dotted(p) for p in nobody]},
        fix=Fix(description="Give the loop of the job, or write the values."),
    )


def _hidden_size_known(evidence: Evidence) -> bool:
    if evidence.model is None or not evidence.model.config:
        return True
    config = evidence.model.config
    parts = [config]
    if evidence.loop == "TRAINER" and isinstance(config.get("text_config"), dict):
        parts.append(config["text_config"])
    return any(part.get("hidden_size") or part.get("hidden_sizes") for part in parts)

"""C103 ignored-setting."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.dsconfig import schema
from hotfire.dsconfig.versions import KNOWN, parse
from hotfire.rules.config.common import (
    config_of,
    dotted,
    drop,
    issues_of,
    move,
    place,
    put,
    stage_of,
    version_of,
)
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Severity
from hotfire.rules.wording import counted, listed

_ZERO = "/zero_optimization"


class IgnoredSetting(Rule):
    """A key that DeepSpeed knows has no effect where it stands.

    Why:
        DeepSpeed takes these without a word, and the memory that one hoped to save is not saved: `offload_param`
        below stage 3, `offload_optimizer` at the top level instead of in `zero_optimization`, keys of stage 3 at
        stage 2, a `zero_optimization` section without a stage (which is stage 0).

    Example:
        `{"zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}}}`: parameters stay on the GPU.

        Bad:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2,
            "zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}}
          }
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2,
            "zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}}
          }
        }
        ```

    Fix:
        Move the key to where it works, raise the stage, or take the key out.

    Source:
        deepspeed/runtime/zero/config.py, engine.py (0.19.8); real configs: trlx, FlagEmbedding, Qwen2-VL-Finetune;
        failure F75.
    """

    id = "C103"
    name = "ignored-setting"
    severity = Severity.WARNING
    needs = ("config",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Looks at misplaced keys, then at what the stage leaves without effect."""
        config = config_of(evidence)
        yield from _misplaced(evidence, config)
        yield from _nameless(evidence)
        yield from _doubled(evidence, config)
        zero = config.get("zero_optimization")
        if isinstance(zero, dict) and zero:
            if "stage" not in zero:
                yield _no_stage(evidence, config, zero)
            else:
                yield from _below_stage(evidence, config, zero)


def _misplaced(evidence: Evidence, config: dict[str, Any]) -> Iterable[Finding]:
    for issue in issues_of(evidence):
        if issue.kind != "misplaced-key":
            continue
        name, home = dotted(issue.pointer), issue.belongs_to or ""
        target = f"{home}/{issue.pointer.rpartition('/')[2]}"
        fix = Fix(description=f"Move it to {dotted(target)}.", patch=move(config, issue.pointer, target))
        yield Finding(
            message=f"{name} has no effect here: DeepSpeed reads it in {dotted(home) or 'the top level'} only.",
            location=place(evidence, issue.pointer),
            evidence={"key": name, "section": dotted(home)},
            fix=fix,
        )


def _nameless(evidence: Evidence) -> Iterable[Finding]:
    for issue in issues_of(evidence):
        if issue.kind == "without-type":
            section = issue.pointer.rpartition("/")[0]
            yield Finding(
                message=f"{issue.detail}.",
                location=place(evidence, issue.pointer),
                evidence={"key": dotted(issue.pointer)},
                fix=Fix(description=f"Give the type, or take {dotted(section)} out."),
            )


def _doubled(evidence: Evidence, config: dict[str, Any]) -> Iterable[Finding]:
    if config.get("bf16") is not None and "bfloat16" in config:
        yield Finding(
            message="bfloat16 has no effect: it is the old name of bf16, which is given as well and wins.",
            location=place(evidence, "/bfloat16"),
            evidence={"bf16": config["bf16"], "bfloat16": config["bfloat16"]},
            fix=Fix(description="Take bfloat16 out.", patch=[drop("/bfloat16")]),
        )


def _no_stage(evidence: Evidence, config: dict[str, Any], zero: dict[str, Any]) -> Finding:
    stage = 3 if any(str(k).startswith("stage3_") or k == "offload_param" for k in zero) else 2
    return Finding(
        message=f"zero_optimization gives no stage, which is stage 0: {counted(len(zero), 'key')} in it "
        f"({listed(zero)}) without effect, and nothing is partitioned.",
        location=place(evidence, _ZERO),
        evidence={"keys": sorted(map(str, zero))},
        fix=Fix(
            description=f"Give the stage: {stage}, by the keys.", patch=put(config, f"{_ZERO}/stage", stage)
        ),
    )


def _below_stage(evidence: Evidence, config: dict[str, Any], zero: dict[str, Any]) -> Iterable[Finding]:
    stage = stage_of(config)
    if stage is None or stage == 3:
        return
    told = False
    for name in ("offload_param", "offload_optimizer"):
        device = zero[name].get("device", "none") if isinstance(zero.get(name), dict) else "none"
        if device in ("none", "auto") or (name == "offload_optimizer" and stage > 0):
            continue
        told = told or name == "offload_param"
        wanted = "stage 3" if name == "offload_param" else "a stage of 1 to 3"
        yield Finding(
            message=f'zero_optimization.{name} ("{device}") has no effect at stage {stage}: it needs {wanted}.',
            location=place(evidence, f"{_ZERO}/{name}"),
            evidence={"stage": stage, "key": name, "device": device},
            fix=Fix(description="Take it out: nothing changes.", patch=[drop(f"{_ZERO}/{name}")]),
            alternatives=[
                Fix(
                    description="Use stage 3, which partitions the parameters too.",
                    patch=put(config, f"{_ZERO}/stage", 3),
                )
            ],
        )
    if stage > 0 or not told:  # at stage 0 the whole section lies idle: one key of stage 3 is enough
        yield from _stage3_keys(evidence, zero, stage)


def _stage3_keys(evidence: Evidence, zero: dict[str, Any], stage: int) -> Iterable[Finding]:
    version = parse(version_of(evidence) or KNOWN)
    idle, by_name = [], []
    for name, value in zero.items():
        key = schema.lookup(f"{_ZERO}/{name}")
        if key is None or not key.stage3 or key.section is not None or not key.known(version):
            continue
        if value not in ("auto", key.default_at(version)):
            idle.append(str(name))
        elif str(name).startswith("stage3_"):
            by_name.append(str(name))
    # Where none says anything by its value, their names do: the section was written for stage 3.
    told = idle or by_name
    if told:
        yield Finding(
            message=f"{counted(len(told), 'key')} of stage 3 without effect at stage {stage}: {listed(told)}.",
            location=place(evidence, f"{_ZERO}/{told[0]}"),
            evidence={"stage": stage, "keys": told},
            fix=Fix(
                description="Take them out: nothing changes.",
                patch=[drop(f"{_ZERO}/{name}") for name in (*idle, *by_name)],
            ),
        )

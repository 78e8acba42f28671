"""C109 precision-conflict."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.dsconfig.schema_sections import TORCH_DTYPES
from hotfire.dsconfig.versions import KNOWN, parse
from hotfire.rules.config.common import config_of, drop, is_on, named, place, put, stage_of, truth, version_of
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, PatchOperation, Severity
from hotfire.rules.remedy import set_value

# Before Ampere (compute capability 8.0) no bf16 arithmetic.
_NO_BF16 = (
    "V100",
    "T4",
    "P100",
    "P40",
    "P4",
    "K80",
    "M60",
    "TITAN",
    "GTX",
    "RTX 20",
    "QUADRO RTX",
    "2080",
    "1080",
)


class PrecisionConflict(Rule):
    """The precision settings contradict each other, or the GPU.

    Why:
        DeepSpeed refuses fp16 and bf16 together; Apex AMP goes with neither, nor with ZeRO; master weights in 16
        bits need ZeRO. A GPU before Ampere has no bf16: the job fails, or runs emulated and many times slower.

    Example:
        `"fp16": {"enabled": true}, "bf16": {"enabled": true}`; bf16 with `gpu_type: V100`.

        Bad:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2, "fp16": {"enabled": true}, "bf16": {"enabled": true}
          }
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2, "fp16": {"enabled": false}, "bf16": {"enabled": true}
          }
        }
        ```

    Fix:
        Turn one of the two off: fp16 where the GPU has bf16, else bf16.

    Source:
        deepspeed/runtime/config.py `_initialize_params`, `_do_error_check`, engine.py `_do_sanity_check` (0.19.8) and
        `_do_optimizer_sanity_check` (0.16.5, AMP); accelerate `set_mixed_precision`; transformers
        `TrainingArguments`; failure F34.
    """

    id = "C109"
    name = "precision-conflict"
    severity = Severity.ERROR
    needs = ("config",)
    blocks_start = True

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Looks at every pair that does not go together."""
        config, training = config_of(evidence), evidence.training or {}
        fp16, bf16 = _enabled(evidence, config, "fp16"), _enabled(evidence, config, "bf16")
        if fp16 is not None and bf16 is not None:
            yield _both(evidence, config, fp16, bf16)
        elif training.get("fp16") and training.get("bf16"):
            yield _both_arguments(evidence)
        elif evidence.loop == "ACCELERATE":
            yield from _against_arguments(evidence, config, fp16, bf16)
        bf16_wanted = bf16 or ("/training/bf16" if training.get("bf16") else None)
        if bf16_wanted is not None and fp16 is None:
            yield from _no_bf16(evidence, config, bf16_wanted)
        yield from _amp(evidence, config, fp16 or bf16)
        yield from _master_weights(evidence, config)
        yield from _parameter_type(evidence, config, "fp16" if fp16 else "bf16" if bf16 else "fp32")


def _enabled(evidence: Evidence, config: dict[str, Any], name: str) -> str | None:
    """Pointer of the section that turns this precision on; None if none does."""
    names = ("bf16", "bfloat16") if name == "bf16" else (name,)
    section = next((n for n in names if isinstance(config.get(n), dict)), None)
    if section is None:
        return None
    value = config[section].get("enabled")
    filled = value == "auto" and section != "bfloat16" and evidence.loop in ("TRAINER", "ACCELERATE")
    on = bool((evidence.training or {}).get(name)) if filled else is_on(config[section])
    return f"/{section}" if on else None


def _both(evidence: Evidence, config: dict[str, Any], fp16: str, bf16: str) -> Finding:
    off, on = (bf16, fp16) if _lacks_bf16(evidence) else (fp16, bf16)
    return Finding(
        message=f"fp16 and bf16 are both on; {named(evidence)} refuses that.",
        location=place(evidence, f"{off}/enabled"),
        evidence={"fp16": config[fp16[1:]], "bf16": config[bf16[1:]]},
        fix=_turn_off(evidence, config, off, on),
        alternatives=[_turn_off(evidence, config, on, off)],
    )


def _turn_off(evidence: Evidence, config: dict[str, Any], off: str, on: str) -> Fix:
    patch = [] if config[off[1:]].get("enabled") == "auto" else put(config, f"{off}/enabled", False)
    argument = "fp16" if off == "/fp16" else "bf16"
    if (evidence.training or {}).get(argument):
        patch.append(set_value(evidence, f"/training/{argument}", False))
    return Fix(description=f"Turn {off[1:]} off and keep {on[1:]}.", patch=patch)


def _both_arguments(evidence: Evidence) -> Finding:
    off = "bf16" if _lacks_bf16(evidence) else "fp16"
    return Finding(
        message="The arguments fp16 and bf16 are both true; at most one may be.",
        location=Location(config_path=f"/training/{off}"),
        evidence={"fp16": True, "bf16": True},
        fix=Fix(
            description=f"Turn {off} off.",
            patch=[PatchOperation(op="replace", path=f"/training/{off}", value=False)],
        ),
    )


def _against_arguments(
    evidence: Evidence, config: dict[str, Any], fp16: str | None, bf16: str | None
) -> Iterable[Finding]:
    training = evidence.training or {}
    for argument, other in (("fp16", bf16), ("bf16", fp16)):
        if training.get(argument) and other is not None:
            yield Finding(
                message=f"The arguments ask for {argument} and the config has {other[1:]} on: accelerate refuses that.",
                location=place(evidence, f"{other}/enabled"),
                evidence={"arguments": argument, "config": other[1:]},
                fix=Fix(
                    description=f"Turn {other[1:]} off in the config.",
                    patch=put(config, f"{other}/enabled", False),
                ),
            )


def _lacks_bf16(evidence: Evidence) -> str | None:
    """The target's GPU, if it is one without bf16."""
    kind = evidence.cluster.gpu_type if evidence.cluster is not None else None
    words = (kind or "").upper().replace("-", " ")
    hit = any(name in words.split() if name in ("T4", "P4", "P40") else name in words for name in _NO_BF16)
    return kind if hit else None


def _no_bf16(evidence: Evidence, config: dict[str, Any], where: str) -> Iterable[Finding]:
    gpu = _lacks_bf16(evidence)
    if gpu is None:
        return
    patch: list[PatchOperation] = []
    if where.startswith("/training"):
        location = Location(config_path=where)
    else:
        location = place(evidence, f"{where}/enabled")
        if config[where[1:]].get("enabled") != "auto":
            patch += put(config, f"{where}/enabled", False)
    section = config.get("fp16")
    if not (isinstance(section, dict) and section.get("enabled") == "auto"):
        patch += put(config, "/fp16/enabled", True)
    if (evidence.training or {}).get("bf16"):
        patch += [set_value(evidence, "/training/bf16", False), set_value(evidence, "/training/fp16", True)]
    yield Finding(
        message=f"bf16 is on and the target's GPU, {gpu}, has no bf16 arithmetic.",
        location=location,
        evidence={"gpu_type": gpu},
        fix=Fix(description="Train in fp16 there.", patch=patch),
    )


def _amp(evidence: Evidence, config: dict[str, Any], other: str | None) -> Iterable[Finding]:
    version = parse(version_of(evidence) or KNOWN)
    if version >= parse("0.19.8") or not is_on(config.get("amp")):
        return  # from 0.19.8 on the key itself is refused: C104
    stage = stage_of(config)
    clash = f"ZeRO (stage {stage})" if stage else other[1:] if other is not None else None
    if clash is not None:
        yield Finding(
            message=f"amp is on together with {clash}; {named(evidence)} refuses that.",
            location=place(evidence, "/amp"),
            evidence={"amp": config["amp"], "stage": stage},
            fix=Fix(description="Take amp out; fp16 or bf16 do its work.", patch=[drop("/amp")]),
        )


def _master_weights(evidence: Evidence, config: dict[str, Any]) -> Iterable[Finding]:
    version = parse(version_of(evidence) or KNOWN)
    stage = stage_of(config)
    full = _section(config, "bf16") or _section(config, "bfloat16")
    for section, key, since in (
        ("fp16", "fp16_master_weights_and_grads", "0.14.5"),
        ("bf16", "bf16_master_weights_and_grads", "0.18.3"),
        ("bf16", "bf16_optimizer_states", "0.18.3"),
    ):
        values = _section(config, "fp16") if section == "fp16" else full
        if not truth(values.get(key)) or version < parse(since) or stage is None:
            continue
        only_2 = section == "fp16" and version < parse("0.18.3")
        if (stage != 2) if only_2 else (stage == 0):
            wanted = "stage 2" if only_2 else "a stage of 1 to 3"
            yield Finding(
                message=f"{section}.{key} needs ZeRO with {wanted}, and the stage is {stage}.",
                location=place(evidence, f"/{section}/{key}"),
                evidence={"stage": stage},
                fix=Fix(
                    description="Take it out: master weights are then fp32.",
                    patch=[drop(f"/{section}/{key}")],
                ),
            )
        elif key == "bf16_optimizer_states" and not truth(values.get("bf16_master_weights_and_grads")):
            yield Finding(
                message="bf16.bf16_optimizer_states needs bf16_master_weights_and_grads as well.",
                location=place(evidence, f"/{section}/{key}"),
                evidence={"bf16": values},
                fix=Fix(
                    description="Take it out: optimizer states are then fp32.",
                    patch=[drop(f"/{section}/{key}")],
                ),
            )


def _parameter_type(evidence: Evidence, config: dict[str, Any], mode: str) -> Iterable[Finding]:
    wanted = _section(config, "data_types").get("param_dtype")
    if wanted is None or parse(version_of(evidence) or KNOWN) < parse("0.19.2"):
        return
    names = {"fp16": TORCH_DTYPES[:4], "bf16": TORCH_DTYPES[4:7], "fp32": TORCH_DTYPES[7:11]}
    if wanted not in names[mode]:
        yield Finding(
            message=f"data_types.param_dtype is {wanted} and the job trains in {mode}; they must be the same.",
            location=place(evidence, "/data_types/param_dtype"),
            evidence={"param_dtype": wanted, "mode": mode},
            fix=Fix(
                description="Take it out: it follows fp16 and bf16.", patch=[drop("/data_types/param_dtype")]
            ),
        )


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}

"""C112 optimizer-conflict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hotfire.dsconfig.effective import number, precision, zero_stage
from hotfire.dsconfig.states import offload_of
from hotfire.rules.config.common import config_of, drop, named, place, put, truth
from hotfire.rules.config.job import GIVE_THE_LOOP, effective_config, refused
from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity
from hotfire.rules.remedy import remove

#: What ZeRO takes without a word, as the name in a config becomes a class (lower case; torch's own by exact name).
_TESTED = ("adam", "adamw", "adagrad", "lion", "muon")
_DYNAMIC_ONLY = ("lamb", "onebitlamb")
_ADAMS = ("adam", "adamw")
#: What accelerate turns into its DeepSpeed twin for the CPU; any other becomes an Adam.
_OFFLOADABLE = ("adamw", "adam", "adagrad", "lion")


class OptimizerConflict(Rule):
    """Two owners of the optimizer or the schedule, or an optimizer that does not go with the rest.

    Why:
        accelerate refuses an optimizer in the config beside one in the code; the HF Trainer silently prefers the
        config's to `optim` and `lr_scheduler_type`, and DeepSpeed the code's to the config's. With CPU offload
        DeepSpeed refuses an optimizer made in the code, and accelerate swaps it for its own Adam. ZeRO refuses an
        optimizer that it was not tested with, and LAMB needs the dynamic loss scale.

    Example:
        `"optimizer": {"type": "SGD", ...}` at stage 2 without `zero_allow_untested_optimizer`; a scheduler section in
        the config and `lr_scheduler_type: cosine` in the arguments.

        Bad:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2, "optimizer": {"type": "SGD", "params": {"lr": 0.01}},
            "zero_optimization": {"stage": 2}
          }
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {
            "train_micro_batch_size_per_gpu": 2, "optimizer": {"type": "SGD", "params": {"lr": 0.01}},
            "zero_optimization": {"stage": 2}, "zero_allow_untested_optimizer": true
          }
        }
        ```

    Fix:
        One owner: take it out of the config, or out of the arguments.

    Source:
        accelerate `Accelerator._prepare_deepspeed`, `map_pytorch_optim_to_deepspeed` (1.15), transformers
        `deepspeed_optim_sched` (5.23), deepspeed/runtime/engine.py `_do_sanity_check`, `_configure_optimizer`,
        `_do_optimizer_sanity_check` (0.15.4 to 0.19.8); failures F77, F79, F80, F96.
    """

    id = "C112"
    name = "optimizer-conflict"
    severity = Severity.ERROR
    needs = ("config",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Who makes the optimizer, then what that one meets."""
        config = config_of(evidence)
        optimizer, scheduler = _section(config, "optimizer"), _section(config, "scheduler")
        client = (evidence.training or {}).get("optimizer_source") == "CLIENT"
        if optimizer is not None and client and evidence.loop != "TRAINER":
            yield _given_twice(evidence, "optimizer")
        if optimizer is None or (client and evidence.loop == "DEEPSPEED"):
            yield from _client_with_offload(evidence)
        else:
            yield from _untested(evidence, config, optimizer)
            yield from _static_scale(evidence, config, optimizer)
            yield from _other_optimizer(evidence, optimizer)
        if scheduler is not None:
            yield from _other_schedule(evidence, scheduler)


def _section(config: dict[str, Any], name: str) -> dict[str, Any] | None:
    section = config.get(name)
    return section if isinstance(section, dict) and isinstance(section.get("type"), str) else None


def _given_twice(evidence: Evidence, name: str) -> Finding:
    accelerate = evidence.loop == "ACCELERATE"
    effect = (
        "accelerate refuses that"
        if accelerate
        else "DeepSpeed takes the one of the code and ignores the config's"
    )
    return Finding(
        message=f"The {name} is given twice, in the config and in the code (optimizer_source: client): {effect}."
        + (GIVE_THE_LOOP if evidence.loop is None else ""),
        severity=Severity.ERROR if accelerate else Severity.WARNING,
        blocks_start=accelerate,
        location=place(evidence, f"/{name}"),
        evidence={"optimizer_source": "CLIENT", "loop": evidence.loop},
        fix=Fix(description=f"Take the {name} out of the config.", patch=[drop(f"/{name}")]),
        alternatives=[
            Fix(
                description="Let the config make it.",
                patch=[remove("/training/optimizer_source")],
            )
        ],
    )


def _client_with_offload(evidence: Evidence) -> Iterator[Finding]:
    """Only where the loop is known: most files without an optimizer are made for the HF Trainer, which is fine."""
    config = effective_config(evidence)
    zero = config.get("zero_optimization")
    offload = offload_of(zero if isinstance(zero, dict) else None) or ""
    forced = config.get("zero_force_ds_cpu_optimizer", True)
    if "optimizer" not in offload or not truth(forced):
        return
    if evidence.loop == "DEEPSPEED":
        yield Finding(
            message="The optimizer is offloaded to the CPU and made in the code: DeepSpeed refuses any but its own "
            "CPUAdam there.",
            blocks_start=True,
            location=place(evidence, "/zero_optimization/offload_optimizer"),
            evidence={"offload": offload, "zero_force_ds_cpu_optimizer": forced},
            fix=Fix(
                description="Allow the optimizer of the code; it is slower than CPUAdam.",
                patch=put(config_of(evidence), "/zero_force_ds_cpu_optimizer", False),
            ),
            alternatives=[
                Fix(
                    description="Let the config make it: AdamW becomes DeepSpeed's CPUAdam.",
                    patch=put(
                        config_of(evidence),
                        "/optimizer",
                        {
                            "type": "AdamW",
                            "params": {"lr": number((evidence.training or {}).get("learning_rate")) or 5e-5},
                        },
                    ),
                )
            ],
        )
    elif (
        evidence.loop == "TRAINER" and (kind := _argument(evidence)) is not None and kind not in _OFFLOADABLE
    ):
        yield Finding(
            message=f"optim is {kind} and the optimizer is offloaded to the CPU: accelerate trains with DeepSpeed's "
            "CPUAdam instead, without a word.",
            severity=Severity.WARNING,
            location=Location(config_path="/training/optim"),
            evidence={"optim": kind, "offload": offload},
            fix=Fix(
                description="Keep the optimizer; it is slower than CPUAdam.",
                patch=put(config_of(evidence), "/zero_force_ds_cpu_optimizer", False),
            ),
        )


def _argument(evidence: Evidence) -> str | None:
    """Family of the argument `optim`: "adamw_torch_fused" is adamw."""
    value = (evidence.training or {}).get("optim")
    if not isinstance(value, str):
        return None
    name = value.lower().rpartition(".")[2].removeprefix("paged_").removeprefix("stable_")
    return next((family for family in ("adamw", "adagrad", "lion") if name.startswith(family)), name)


def _untested(evidence: Evidence, config: dict[str, Any], optimizer: dict[str, Any]) -> Iterator[Finding]:
    kind, stage = str(optimizer["type"]), zero_stage(effective_config(evidence))
    if stage == 0 or kind.lower() in _TESTED or truth(config.get("zero_allow_untested_optimizer")):
        return
    yield Finding(
        message=f"{named(evidence)} refuses {kind} under ZeRO (stage {stage}): it was not tested with it, and "
        "zero_allow_untested_optimizer is not set." + (GIVE_THE_LOOP if evidence.loop is None else ""),
        severity=refused(evidence),
        blocks_start=evidence.loop is not None,
        location=place(evidence, "/optimizer/type"),
        evidence={"optimizer": kind, "stage": stage},
        fix=Fix(
            description="Allow it; its states are then partitioned all the same.",
            patch=put(config, "/zero_allow_untested_optimizer", True),
        ),
        alternatives=[Fix(description="Use AdamW.", patch=put(config, "/optimizer/type", "AdamW"))],
    )


def _static_scale(evidence: Evidence, config: dict[str, Any], optimizer: dict[str, Any]) -> Iterator[Finding]:
    section = config.get("fp16")
    scale = number(section.get("loss_scale")) if isinstance(section, dict) else None
    # DeepSpeed looks at the number even where fp16 is off.
    if str(optimizer["type"]).lower() not in _DYNAMIC_ONLY or not scale:
        return
    yield Finding(
        message=f"{optimizer['type']} needs the dynamic loss scale, and fp16.loss_scale is {scale:g}: "
        f"{named(evidence)} refuses that." + (GIVE_THE_LOOP if evidence.loop is None else ""),
        severity=refused(evidence),
        blocks_start=evidence.loop is not None,
        location=place(evidence, "/fp16/loss_scale"),
        evidence={
            "optimizer": optimizer["type"],
            "loss_scale": scale,
            "precision": precision(effective_config(evidence)),
        },
        fix=Fix(description="Use the dynamic scale.", patch=[drop("/fp16/loss_scale")]),
    )


def _other_optimizer(evidence: Evidence, optimizer: dict[str, Any]) -> Iterator[Finding]:
    """`optim` beside the config's optimizer: the HF Trainer never looks at it."""
    kind, wanted = str(optimizer["type"]).lower(), _argument(evidence)
    if evidence.loop not in (None, "TRAINER") or wanted is None:
        return
    if wanted == kind or (wanted == "adamw" and kind in _ADAMS):
        return
    yield Finding(
        message=f"optim is {(evidence.training or {})['optim']} and the config has an optimizer, {optimizer['type']}: "
        "the HF Trainer takes the config's, without a word.",
        severity=Severity.WARNING,
        location=place(evidence, "/optimizer"),
        evidence={"optim": wanted, "optimizer": optimizer["type"]},
        fix=Fix(description="Take the config's out: optim then holds.", patch=[drop("/optimizer")]),
        alternatives=[Fix(description="Take optim out.", patch=[remove("/training/optim")])],
    )


def _other_schedule(evidence: Evidence, scheduler: dict[str, Any]) -> Iterator[Finding]:
    wanted = (evidence.training or {}).get("lr_scheduler_type")
    if wanted is None or evidence.loop == "DEEPSPEED":
        return
    kind, name = str(scheduler["type"]), str(wanted).lower().rpartition(".")[2]
    if _same_curve(kind, name):
        return
    yield Finding(
        message=f"lr_scheduler_type is {name} and the config has a scheduler, {kind}: the config's is taken, without "
        "a word.",
        severity=Severity.WARNING,
        location=place(evidence, "/scheduler"),
        evidence={"lr_scheduler_type": name, "scheduler": kind},
        fix=Fix(
            description=f"Take the config's scheduler out: the rate then follows {name}.",
            patch=[drop("/scheduler")],
        ),
        alternatives=[
            Fix(description="Take lr_scheduler_type out.", patch=[remove("/training/lr_scheduler_type")])
        ],
    )


def _same_curve(kind: str, name: str) -> bool:
    """They mean the same after the warm-up."""
    return (kind, name) in (
        ("WarmupLR", "constant_with_warmup"),
        ("WarmupLR", "constant"),
        ("WarmupDecayLR", "linear"),
        ("WarmupCosineLR", "cosine"),
    )

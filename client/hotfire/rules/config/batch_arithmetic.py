"""C107 batch-arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hotfire.dsconfig import effective
from hotfire.dsconfig.batch_size import ACCUMULATION, MICRO, TRAIN
from hotfire.rules.config.common import config_of, drop, is_on, place, put
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, PatchOperation, Severity
from hotfire.rules.remedy import set_value

_MEMBERS = (TRAIN, MICRO, ACCUMULATION)
_ARGUMENTS = {MICRO: "per_device_train_batch_size", ACCUMULATION: "gradient_accumulation_steps"}


@dataclass(frozen=True, slots=True)
class _World:
    """The data-parallel size of the job, and where it comes from."""

    size: int | None
    words: str


class BatchArithmetic(Rule):
    """The batch sizes do not multiply out on the target cluster.

    Why:
        DeepSpeed wants train_batch_size = micro batch x accumulation x data-parallel ranks, works out what is not
        given by whole division, and refuses the rest with an AssertionError. A config that was right on 8 GPUs is
        wrong on 16, and a part can become 0 by the division.

    Example:
        `train_batch_size: 32, train_micro_batch_size_per_gpu: 4, gradient_accumulation_steps: 2` on 8 GPUs: 64.

        Bad:

        ```json
        {
          "deepspeed": {
            "train_batch_size": 32, "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2
          },
          "cluster": {"num_gpus": 8}
        }
        ```

        Good:

        ```json
        {
          "deepspeed": {
            "train_batch_size": 64, "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2
          },
          "cluster": {"num_gpus": 8}
        }
        ```

    Fix:
        Give two of the three, or change the number that the finding names. With the HF Trainer: "auto" for all.

    Source:
        `DeepSpeedConfig._set_batch_related_parameters` and `_batch_assertion`, deepspeed/runtime/config.py (0.19.8);
        DeepSpeed's own tests/unit/runtime/test_ds_config_dict.py; failure F73.
    """

    id = "C107"
    name = "batch-arithmetic"
    severity = Severity.ERROR
    needs = ("config",)
    blocks_start = True

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Works the triple out as DeepSpeed does, for the target's data-parallel size."""
        config = config_of(evidence)
        if is_on(config.get("elasticity")):
            raise Skip("elastic training chooses the batch sizes")
        if not _are_numbers(config, evidence.loop):
            raise Skip("a batch size is not a number (wrong-type, unresolved-auto)")
        world = _world(evidence, config)
        if evidence.loop is None and any(config.get(key) == "auto" for key in _MEMBERS):
            yield from _not_positive(evidence, config)
            return
        yield from _not_positive(evidence, config)
        if any(_number(config.get(key)) is not None and config[key] <= 0 for key in _MEMBERS):
            return
        triple = effective.batch(config, evidence.training or {}, evidence.loop or "DEEPSPEED", world.size)
        if triple.train is None and triple.micro is None:
            yield _nothing_given(evidence, config)
        elif triple.problems:
            yield _finding(evidence, config, triple, world)


def _are_numbers(config: dict[str, Any], loop: str | None) -> bool:
    values = [config.get(key) for key in _MEMBERS]
    return all(
        value is None
        or (value == "auto" and loop != "DEEPSPEED")
        or (_number(value) is not None and float(value).is_integer())
        for value in values
    )


def _number(value: Any) -> float | None:
    return effective.number(value)


def _world(evidence: Evidence, config: dict[str, Any]) -> _World:
    cluster = evidence.cluster
    if cluster is None or cluster.world_size is None:
        return _World(None, "")
    if cluster.data_parallel_size is not None:
        return _World(cluster.data_parallel_size, f"{cluster.data_parallel_size} data-parallel ranks")
    size = cluster.world_size
    tensor = config.get("tensor_parallel")
    for share, name in (
        (config.get("sequence_parallel_size"), "sequence-parallel"),
        (tensor.get("autotp_size") if isinstance(tensor, dict) else None, "tensor-parallel"),
    ):
        if isinstance(share, int) and share > 1 and size % share == 0:
            size //= share
            return _World(size, f"{size} data-parallel ranks ({cluster.world_size} GPUs, {name} {share})")
    return _World(size, f"{size} GPUs")


def _not_positive(evidence: Evidence, config: dict[str, Any]) -> Iterable[Finding]:
    for key in _MEMBERS:
        value = _number(config.get(key))
        if value is not None and value <= 0:
            yield Finding(
                message=f"{key} is {int(value)}; it has to be greater than 0.",
                location=place(evidence, f"/{key}"),
                evidence={key: config[key]},
                fix=Fix(
                    description="Take it out, so that it follows from the others.", patch=[drop(f"/{key}")]
                )
                if key == TRAIN
                else Fix(description="Set it to 1.", patch=put(config, f"/{key}", 1)),
            )


def _nothing_given(evidence: Evidence, config: dict[str, Any]) -> Finding:
    known = evidence.loop is not None
    message = f"Neither {TRAIN} nor {MICRO} is given; DeepSpeed needs one of them."
    if not known:
        message += (
            " A warning only: some launchers fill them in; give the loop (trainer, accelerate or deepspeed)."
        )
    micro = (evidence.training or {}).get(_ARGUMENTS[MICRO])
    value: Any = micro if micro is not None else "auto" if evidence.loop in ("TRAINER", "ACCELERATE") else 1
    return Finding(
        message=message,
        severity=Severity.ERROR if known else Severity.WARNING,
        location=place(evidence, f"/{MICRO}"),
        evidence={key: config.get(key) for key in _MEMBERS},
        fix=Fix(description=f"Give the micro batch: {value}.", patch=put(config, f"/{MICRO}", value)),
    )


def _finding(evidence: Evidence, config: dict[str, Any], triple: effective.Batch, world: _World) -> Finding:
    train, micro, accumulation = triple.train, triple.micro, triple.accumulation
    numbers = {TRAIN: train, MICRO: micro, ACCUMULATION: accumulation, "world_size": world.size}
    if world.size is None:
        per_rank = (micro or 1) * (accumulation or 1)
        message = (
            f"{TRAIN} {train} cannot come out of {MICRO} {micro or 'not given'} x {ACCUMULATION} "
            f"{accumulation or 'not given'} on any number of GPUs: it is no multiple of {per_rank}."
        )
    else:
        inferred = [k for k in _MEMBERS if config.get(k) is None]
        product = (micro or 0) * (accumulation or 0) * world.size
        message = f"{TRAIN} {train} is not {MICRO} {micro} x {ACCUMULATION} {accumulation} x {world.words} = {product}."
        if inferred:
            message += f" ({', '.join(inferred)}: worked out by whole division.)"
    first, *others = _fixes(evidence, config, triple, world)
    key = next(k for k in _MEMBERS if config.get(k) not in (None, "auto"))
    return Finding(
        message=message,
        location=place(evidence, f"/{key}"),
        evidence=numbers,
        fix=first,
        alternatives=others,
    )


def _fixes(evidence: Evidence, config: dict[str, Any], triple: effective.Batch, world: _World) -> list[Fix]:
    """First: keep what runs on one GPU. Then: keep the batch of an optimizer step, where the division is even."""
    train, size = triple.train or 1, world.size
    micro, accumulation = triple.micro or 1, triple.accumulation or 1
    if size is None:
        return [
            Fix(
                description=f"Take {TRAIN} out: it follows from the other two and the number of GPUs.",
                patch=[drop(f"/{TRAIN}")],
            )
        ]
    product = micro * accumulation * size
    fixes = [Fix(description=f"Set {TRAIN} to {product}.", patch=_set(evidence, config, {TRAIN: product}))]
    if train % (micro * size) == 0:
        value = train // (micro * size)
        fixes.append(
            Fix(
                description=f"Keep {TRAIN} {train}: set {ACCUMULATION} to {value}.",
                patch=_set(evidence, config, {MICRO: micro, ACCUMULATION: value}),
            )
        )
    if train % (accumulation * size) == 0:
        value = train // (accumulation * size)
        fixes.append(
            Fix(
                description=f"Keep {TRAIN} {train}: set {MICRO} to {value}.",
                patch=_set(evidence, config, {MICRO: value, ACCUMULATION: accumulation}),
            )
        )
    return fixes


def _set(evidence: Evidence, config: dict[str, Any], values: dict[str, int]) -> list[PatchOperation]:
    """Sets members of the triple, and the training arguments that must agree with them."""
    patch: list[PatchOperation] = []
    for key, value in values.items():
        if config.get(key) not in (value, "auto"):
            patch += put(config, f"/{key}", value)
        argument = _ARGUMENTS.get(key)
        if argument is None or evidence.loop not in ("TRAINER", "ACCELERATE"):
            continue
        default = 8 if key == MICRO else 1
        if (evidence.training or {}).get(argument, default) != value:
            patch.append(set_value(evidence, f"/training/{argument}", value))
    return patch

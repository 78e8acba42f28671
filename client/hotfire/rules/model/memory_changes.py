"""The smallest change of a job that makes it fit: micro-batch, checkpointing, stage, offload, in that order."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from hotfire.dsconfig.memory import Forecaster, MemoryForecast
from hotfire.dsconfig.memory_setting import Setting
from hotfire.dsconfig.states import Placement
from hotfire.rules.config.common import config_of, put
from hotfire.rules.evidence import Cluster, Evidence, Fix, PatchOperation
from hotfire.rules.remedy import given, is_literal, set_value

_STAGE = "/zero_optimization/stage"
_OFFLOADS = {"optimizer": "/zero_optimization/offload_optimizer", "param": "/zero_optimization/offload_param"}
_MAX_GPUS = 65_536
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Change:
    """A variant of the job that needs less."""

    setting: Setting
    parts: tuple[str, ...]
    """What changes: "micro", "checkpointing", "placement"."""
    forecast: MemoryForecast


def smallest_changes(forecaster: Forecaster, cluster: Cluster, *, most: int = 3) -> list[Change]:
    """Variants that fit, the smallest change first; those that surely fit before those that are expected to."""
    sure: list[Change] = []
    expected: list[Change] = []
    for parts, sizes in _variants(forecaster, cluster):
        # What does as much as one that is kept already, or more, is not smaller.
        if len(sure) >= most or any(set(k.parts) <= set(parts) for k in sure):
            continue
        changes = (Change(v, parts, forecaster.at(v)) for v in sizes)
        smallest = next(changes)
        if not smallest.forecast.fits:
            continue
        # Smaller micro-batches take less: the first of the larger ones that fits is the largest.
        fitting = [*changes, smallest]
        largest = next((c for c in fitting if c.forecast.surely_fits), None)
        if largest is not None:
            sure.append(largest)
        elif all(not set(k.parts) <= set(parts) for k in expected):
            expected.append(next((c for c in fitting if c.forecast.fits), smallest))
    return sure or expected[:most]


def _variants(
    forecaster: Forecaster, cluster: Cluster
) -> Iterator[tuple[tuple[str, ...], Iterator[Setting]]]:
    """What changes, with the variants that differ in the micro-batch alone: its smallest first, then from the largest.

    The fewest changes come first; of those with as many, the cheapest.
    """
    now = forecaster.setting
    micro = [n for n in range(now.micro_batch_size - 1, 0, -1) if now.micro_batch_size % n == 0]
    smallest_first = [*micro[-1:], *micro[:-1]]
    placements = [p for p in _placements(now.placement) if _host_holds(forecaster, p, cluster)]
    checkpoints = [] if now.checkpointing else [True]
    for count in (1, 2, 3):
        for parts in itertools.combinations(("micro", "checkpointing", "placement"), count):
            sizes = smallest_first if "micro" in parts else [now.micro_batch_size]
            for placement in placements if "placement" in parts else [now.placement]:
                for checkpointing in checkpoints if "checkpointing" in parts else [now.checkpointing]:
                    if sizes:
                        yield parts, _sized(now, placement, checkpointing, sizes)


def _sized(now: Setting, placement: Placement, checkpointing: bool, sizes: list[int]) -> Iterator[Setting]:
    for rows in sizes:
        yield dataclasses.replace(
            now,
            placement=placement,
            checkpointing=checkpointing,
            micro_batch_size=rows,
            accumulation=now.accumulation * (now.micro_batch_size // rows),
            pins=now.pins or placement.offload is not None,
            overlaps=now.overlaps or placement.stage == 3,
        )


def _placements(now: Placement) -> Iterator[Placement]:
    """Higher stages, then offload, the cheaper first; nothing that takes an offload back."""
    kept = now.offload
    for stage in range(now.stage + 1, 4):
        yield Placement(stage=stage, offload=kept)
    if kept is None:
        for stage in range(max(1, now.stage), 4):
            yield Placement(stage=stage, offload="optimizer")
    if kept in (None, "optimizer", "param"):
        yield Placement(stage=3, offload="optimizer+param")


def _host_holds(forecaster: Forecaster, placement: Placement, cluster: Cluster) -> bool:
    if placement.offload is None or cluster.host_memory_bytes is None:
        return True
    variant = dataclasses.replace(forecaster.setting, placement=placement, pins=True)
    return forecaster.host_at(variant).expected <= cluster.host_memory_bytes


def fix_of(evidence: Evidence, change: Change, now: Setting) -> Fix:
    """The change as a patch, and what it comes to."""
    words, patch = [], []
    setting = change.setting
    if "micro" in change.parts:
        words.append(f"micro-batch {setting.micro_batch_size} with accumulation {setting.accumulation}")
        patch += _batch_patch(evidence, setting)
    if "checkpointing" in change.parts:
        words.append("recomputed activations (gradient_checkpointing)")
        patch.append(set_value(evidence, "/training/gradient_checkpointing", True))
    if "placement" in change.parts:
        words.append(placement_words(setting.placement))
        patch += _placement_patch(evidence, setting.placement, now.placement)
    forecast = change.forecast
    doubt = "" if forecast.surely_fits else f", at most {size(forecast.high_bytes)}"
    return Fix(
        description=f"Use {' and '.join(words)}: about {size(forecast.total_bytes)} a GPU{doubt}.",
        patch=patch,
    )


def _batch_patch(evidence: Evidence, setting: Setting) -> list[PatchOperation]:
    """The same optimizer step in smaller pieces, wherever the batch is written."""
    patch = []
    for argument, key, value in (
        ("per_device_train_batch_size", "train_micro_batch_size_per_gpu", setting.micro_batch_size),
        ("gradient_accumulation_steps", "gradient_accumulation_steps", setting.accumulation),
    ):
        literal = is_literal(evidence, f"/deepspeed/{key}")
        if not literal or given(evidence, f"/training/{argument}") is not None:
            patch.append(set_value(evidence, f"/training/{argument}", value))
        if literal:
            patch.append(set_value(evidence, f"/deepspeed/{key}", value))
    return patch


def _placement_patch(evidence: Evidence, placement: Placement, now: Placement) -> list[PatchOperation]:
    config = config_of(evidence)
    if not isinstance(config.get("zero_optimization"), dict):
        section: dict[str, object] = {"stage": placement.stage}
        for part in (placement.offload or "").split("+"):
            if part in _OFFLOADS:
                section[_OFFLOADS[part].rpartition("/")[2]] = {"device": "cpu", "pin_memory": True}
        return put(config, "/zero_optimization", section)
    patch = [] if placement.stage == now.stage else put(config, _STAGE, placement.stage)
    for part, pointer in _OFFLOADS.items():
        if part in (placement.offload or "") and part not in (now.offload or ""):
            patch += put(config, pointer, {"device": "cpu", "pin_memory": True})
    return patch


def gpus_needed(forecaster: Forecaster) -> int | None:
    """GPUs with which stage 3, one row and recomputed activations would fit; None: no number of them."""
    now = forecaster.setting
    gpus = now.world_size
    while gpus <= _MAX_GPUS:
        variant = dataclasses.replace(
            now,
            placement=Placement(stage=3, offload=now.placement.offload),
            checkpointing=True,
            micro_batch_size=1,
            world_size=gpus,
        )
        if forecaster.at(variant).fits:
            return gpus
        gpus *= 2
    return None


def placement_words(placement: Placement) -> str:
    """A stage and its offload."""
    offload = placement.offload
    if offload is None:
        return f"ZeRO stage {placement.stage}"
    what = {"optimizer": "the optimizer", "param": "the weights"}.get(offload, "optimizer and weights")
    return f"ZeRO stage {placement.stage} with {what} offloaded to the host"


def size(num_bytes: float) -> str:
    """Bytes for a sentence."""
    return f"{num_bytes / _GIB:.1f} GiB"

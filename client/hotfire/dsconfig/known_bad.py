"""The one reader of the table of DeepSpeed versions that train wrongly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hotfire.dsconfig.batch_size import number
from hotfire.dsconfig.effective import precision, zero_stage
from hotfire.dsconfig.known_bad_table import TABLE, KnownBad, Setting
from hotfire.dsconfig.versions import KNOWN, parse, within

__all__ = ["TABLE", "KnownBad", "Setting", "first_good", "known_bad", "setting_of"]

_FUSED = ("adam", "adamw")


def setting_of(
    effective: Mapping[str, Any],
    *,
    given: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    world_size: int | None = None,
) -> Setting:
    """What of a job the table asks about.

    Args:
        effective: The DeepSpeed config as it takes effect (`effective.resolve`).
        given: The config as it was written; None: as `effective`.
        training: The training arguments.
        world_size: Data-parallel ranks of the real job, where known.
    """
    config = dict(effective)
    training = training or {}
    zero = _section(config, "zero_optimization")
    params = _section(_section(config, "scheduler"), "params")
    optimizer = _section(config, "optimizer")
    return Setting(
        stage=zero_stage(config),
        precision=precision(config),
        accumulation=_whole(config.get("gradient_accumulation_steps")),
        clipping=number(config.get("gradient_clipping")) or 0.0,
        overlap_comm=zero.get("overlap_comm") is True,
        contiguous_gradients=zero.get("contiguous_gradients") is not False,
        offload_optimizer=_section(zero, "offload_optimizer").get("device", "none") not in ("none", None),
        accumulation_dtype=_section(config, "data_types").get("grad_accum_dtype"),
        multi_rank_bucket=zero.get("use_multi_rank_bucket_allreduce") is not False,
        bf16_overflow_check=_section(config, "bf16").get("check_grad_overflow") is True,
        given_fp16=frozenset(_section(given if given is not None else config, "fp16")),
        loss_scale=number(_section(config, "fp16").get("loss_scale")) or 0.0,
        fused_adam=str(optimizer.get("type", "")).lower() in _FUSED
        and _section(optimizer, "params").get("torch_adam") is not True,
        warm_up_without_maximum=_section(config, "scheduler").get("type") == "WarmupLR"
        and params.get("warmup_max_lr") is None,
        loop=training.get("loop"),
        peft=bool(training.get("peft")),
        torch_compile=training.get("torch_compile") is True,
        world_size=world_size,
    )


def known_bad(setting: Setting, versions: Mapping[str, str]) -> list[KnownBad]:
    """The faults that can strike a job under these versions.

    Args:
        setting: The job.
        versions: Library -> version; without "deepspeed" nothing is known. Where a fault needs a torch and "torch" is
            not given, it is left out.
    """
    if "deepspeed" not in versions:
        return []
    deepspeed = parse(versions["deepspeed"])
    torch = parse(versions["torch"]) if "torch" in versions else None
    return [
        entry
        for entry in TABLE
        if within(deepspeed, entry.first_bad, entry.fixed_in)
        and (entry.torch_since is None or (torch is not None and torch >= parse(entry.torch_since)))
        and entry.holds(setting)
    ]


def first_good(
    setting: Setting, versions: Mapping[str, str], *, among: Iterable[str] | None = None
) -> str | None:
    """The nearest later DeepSpeed with which no fault that the config tells of can strike.

    Args:
        setting: The job.
        versions: With which it would run.
        among: The releases to choose from; None: those of the table, and `versions.KNOWN`.

    Returns:
        The release; None: there is none.
    """
    now = parse(versions.get("deepspeed"))
    releases = {e.fixed_in for e in TABLE if e.fixed_in} | {KNOWN} if among is None else set(among)
    for release in sorted(releases, key=parse):
        others = {**versions, "deepspeed": release}
        if parse(release) > now and not any(e.told_by_config for e in known_bad(setting, others)):
            return release
    return None


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


def _whole(value: Any) -> int | None:
    found = number(value)
    return int(found) if found is not None else None

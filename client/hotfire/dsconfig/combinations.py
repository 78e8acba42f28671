"""Values that are fine one by one and that DeepSpeed refuses together.

Source: the validators and assertions of deepspeed/runtime/{config,config_utils}.py, zero/config.py and
zenflow/zenflow_config.py. Loss scaling is C110's, the precision modes are C109's, the batch sizes C107's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hotfire.dsconfig.versions import Version, parse

_REPLACED = (
    ("cpu_offload", "offload_optimizer"),
    ("cpu_offload_param", "offload_param"),
    ("stage3_gather_fp16_weights_on_model_save", "stage3_gather_16bit_weights_on_model_save"),
    ("stage3_gather_fp16_weights_on_model_save", "gather_16bit_weights_on_model_save"),
)
_DOUBLE_NAMES = (
    "prefetch_bucket_size",
    "param_persistence_threshold",
    "model_persistence_threshold",
    "max_live_parameters",
    "max_reuse_distance",
    "gather_16bit_weights_on_model_save",
    "module_granularity_threshold",
    "use_all_reduce_for_fetch_params",
    "allgather_sequential",
)


@dataclass(frozen=True, slots=True)
class Combination:
    """Two or more values that do not go together."""

    pointer: str
    """The one to change first."""
    message: str
    refused: bool = True


def check(given: dict[str, Any], version: Version) -> Iterator[Combination]:
    """Every combination that this version refuses."""
    zero = given.get("zero_optimization")
    if isinstance(zero, dict):
        yield from _zero(zero, version)
    yield from _sum(given, zero if isinstance(zero, dict) else {}, version)
    yield from _elasticity(given, version)
    yield from _others(given, version)


def _zero(zero: dict[str, Any], version: Version) -> Iterator[Combination]:
    at = "/zero_optimization"
    for old, new in _REPLACED:
        if _given(zero, old) and _given(zero, new):
            yield Combination(
                f"{at}/{old}", f"{old} is the old form of {new}, and both are given: DeepSpeed takes one"
            )
    for name in _DOUBLE_NAMES:
        if _given(zero, name) and _given(zero, "stage3_" + name):
            yield Combination(
                f"{at}/{name}", f"{name} and stage3_{name} are the same key, and both are given"
            )
    stage = zero.get("stage", 0)
    offload = zero.get("offload_optimizer")
    ratio = offload.get("ratio") if isinstance(offload, dict) else None
    if isinstance(ratio, int | float) and ratio < 1 and stage != 3:
        yield Combination(
            f"{at}/offload_optimizer/ratio",
            f"a part of the optimizer (ratio {ratio}) can be offloaded only at stage 3, not at {stage}",
        )
    if zero.get("compute_grad_norm") in (False, 0) and stage not in (1, 2) and version >= parse("0.19.7"):
        yield Combination(
            f"{at}/compute_grad_norm", f"compute_grad_norm can be false only at stage 1 and 2, not at {stage}"
        )
    zenflow = zero.get("zenflow")
    if isinstance(zenflow, dict):
        yield from _zenflow(zenflow)


def _zenflow(zenflow: dict[str, Any]) -> Iterator[Combination]:
    for name in ("select_interval", "update_interval"):
        value = zenflow.get(name, "auto")
        whole = isinstance(value, int) or (
            isinstance(value, float) and value.is_integer() and abs(value) < 2.0**63
        )
        if value != "auto" and not whole:
            yield Combination(
                f"/zero_optimization/zenflow/{name}",
                f'{name} is {value!r}: it must be "auto" or a whole number',
            )
    update = zenflow.get("update_interval")
    if isinstance(update, int) and update < 1:
        yield Combination(
            "/zero_optimization/zenflow/update_interval",
            f"update_interval is {update}: it must be at least 1",
        )


def _sum(given: dict[str, Any], zero: dict[str, Any], version: Version) -> Iterator[Combination]:
    operation = given.get("gradient_allreduce_op")
    if not isinstance(operation, str) or operation.lower() != "sum" or version < parse("0.19.6"):
        return
    compile_section = given.get("compile")
    deepcompile = isinstance(compile_section, dict) and compile_section.get("deepcompile") is True
    for used, name in (
        (zero.get("stage") == 3, "ZeRO stage 3"),
        (isinstance(zero.get("zenflow"), dict), "ZenFlow"),
        (deepcompile, "DeepCompile"),
    ):
        if used:
            yield Combination(
                "/gradient_allreduce_op", f'gradient_allreduce_op "sum" does not go with {name}'
            )


def _elasticity(given: dict[str, Any], version: Version) -> Iterator[Combination]:
    section = given.get("elasticity")
    if not isinstance(section, dict) or not section.get("enabled") or version >= parse("0.19.8"):
        return
    batch = [
        k
        for k in ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
        if k in given
    ]
    if batch and not section.get("ignore_non_elastic_batch_info"):
        yield Combination(
            "/elasticity",
            f"elastic training chooses the batch sizes itself, and {', '.join(batch)} is given as well",
        )


def _others(given: dict[str, Any], version: Version) -> Iterator[Combination]:
    types = given.get("data_types")
    kept = types.get("keep_in_fp32_modules", "auto") if isinstance(types, dict) else "auto"
    names = isinstance(kept, list) and all(isinstance(n, str) for n in kept)
    if kept != "auto" and not names and version >= parse("0.19.8"):
        yield Combination(
            "/data_types/keep_in_fp32_modules", 'keep_in_fp32_modules must be "auto" or a list of names'
        )
    tuning = given.get("autotuning")
    for name in ("results_dir", "exps_dir"):
        if isinstance(tuning, dict) and name in tuning and not tuning[name]:
            yield Combination(f"/autotuning/{name}", f"autotuning.{name} must not be empty")
    experts = given.get("expert_parallel")
    if (
        isinstance(experts, dict)
        and experts.get("load_balance_coeff") is not None
        and version >= parse("0.19.2")
    ):
        yield Combination("/expert_parallel/load_balance_coeff", "load_balance_coeff is not supported")


def _given(section: dict[str, Any], name: str) -> bool:
    return name in section and section[name] != "auto"

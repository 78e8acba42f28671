"""The values "auto" of a config: where they stand, and who replaces them.

Sources: `HfTrainerDeepSpeedConfig.fill_match` (transformers 5.23); `DeepSpeedPlugin.__post_init__`,
`set_mixed_precision` and `Accelerator._prepare_deepspeed` (accelerate 1.15). accelerate, which the HF Trainer
uses as well, raises a ValueError for every "auto" that it has no value for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hotfire.dsconfig.hjson_reader import escape

HIDDEN_SIZE_KEYS = frozenset(
    {
        "/zero_optimization/reduce_bucket_size",
        "/zero_optimization/stage3_prefetch_bucket_size",
        "/zero_optimization/stage3_param_persistence_threshold",
    }
)
"""Filled from the model's hidden_size."""

ACCELERATE = HIDDEN_SIZE_KEYS | {
    "/train_batch_size",
    "/train_micro_batch_size_per_gpu",
    "/gradient_accumulation_steps",
    "/gradient_clipping",
    "/steps_per_print",
    "/zero_optimization/stage",
    "/zero_optimization/offload_optimizer/device",
    "/zero_optimization/offload_optimizer/nvme_path",
    "/zero_optimization/offload_param/device",
    "/zero_optimization/offload_param/nvme_path",
    "/zero_optimization/stage3_gather_16bit_weights_on_model_save",
    "/fp16/enabled",
    "/bf16/enabled",
    "/optimizer/params/lr",
    "/optimizer/params/weight_decay",
    "/scheduler/params/warmup_min_lr",
    "/scheduler/params/warmup_max_lr",
    "/scheduler/params/warmup_num_steps",
    "/scheduler/params/total_num_steps",
}
"""What accelerate replaces (the optimizer's and scheduler's with `DummyOptim` and `DummyScheduler`)."""

TRAINER = ACCELERATE | {"/optimizer/params/betas", "/optimizer/params/eps"}
"""What the HF Trainer and accelerate together replace."""

_OWN_WORD = (
    "/autotuning",
    "/data_types/keep_in_fp32_modules",
    "/zero_optimization/zenflow",
    "/pipeline",
    "/expert_parallel",
)


def find(given: dict[str, Any]) -> list[str]:
    """Pointers of every "auto", comments (keys that begin with `_`) left out."""
    return list(_find(given, ""))


def _find(value: Any, pointer: str) -> Iterator[str]:
    if value == "auto":
        yield pointer
    elif isinstance(value, dict):
        for key, item in value.items():
            if not str(key).startswith("_"):
                yield from _find(item, f"{pointer}/{escape(str(key))}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _find(item, f"{pointer}/{index}")


def is_own_word(pointer: str) -> bool:
    """DeepSpeed itself gives "auto" a meaning there."""
    return any(pointer == word or pointer.startswith(word + "/") for word in _OWN_WORD)


def unresolved(given: dict[str, Any], loop: str, *, hidden_size_known: bool) -> list[str]:
    """Pointers of the "auto" values that nobody replaces in this loop.

    Args:
        given: The config as parsed.
        loop: "TRAINER", "ACCELERATE" or "DEEPSPEED".
        hidden_size_known: The model's config has a hidden_size (or the model is not known).
    """
    found = find(given)
    if loop == "DEEPSPEED":
        return [pointer for pointer in found if not is_own_word(pointer)]
    replaced = TRAINER if loop == "TRAINER" else ACCELERATE
    if not hidden_size_known:
        replaced = replaced - HIDDEN_SIZE_KEYS
    return [pointer for pointer in found if pointer not in replaced]

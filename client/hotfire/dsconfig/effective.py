"""What of a DeepSpeed config takes effect: "auto" resolved, deprecated names merged, defaults written out.

Sources: `HfTrainerDeepSpeedConfig` (transformers 5.23), `DeepSpeedPlugin` and
`Accelerator._prepare_deepspeed` (accelerate 1.15),
`deepspeed/runtime/{config,constants,precision_config,zero/config}.py` (DeepSpeed 0.19.8).
Nothing here raises on a value of an odd type: it is left as it is, for the rules to judge.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hotfire.dsconfig.batch_size import Batch, batch, number, of_arguments
from hotfire.dsconfig.schema import lookup
from hotfire.dsconfig.versions import Version, parse

__all__ = [
    "LEARNING_RATE", "Batch", "Effective", "batch", "number", "precision", "resolve",
    "warmup_steps", "zero_stage",
]  # fmt: skip

AUTO = "auto"
LEARNING_RATE = 5e-5
"""Default of `TrainingArguments.learning_rate`."""

# Sections that DeepSpeed reads as a DeepSpeedConfigModel, which drops every "auto" (the default then holds).
_DROPPING_SECTIONS = (
    "bf16", "bfloat16", "comms_logger", "compile", "csv_monitor", "comet", "fp16", "tensor_parallel",
    "tensorboard", "wandb", "zero_optimization",
)  # fmt: skip
# Values for which "auto" is DeepSpeed's own word.
_MEANT_AUTO = ("/autotuning", "/data_types/keep_in_fp32_modules", "/zero_optimization/zenflow", "/pipeline")

_ZERO_ALIASES = {
    "stage3_gather_fp16_weights_on_model_save": "stage3_gather_16bit_weights_on_model_save",
    "gather_16bit_weights_on_model_save": "stage3_gather_16bit_weights_on_model_save",
    "prefetch_bucket_size": "stage3_prefetch_bucket_size",
    "param_persistence_threshold": "stage3_param_persistence_threshold",
    "model_persistence_threshold": "stage3_model_persistence_threshold",
    "max_live_parameters": "stage3_max_live_parameters",
    "max_reuse_distance": "stage3_max_reuse_distance",
    "module_granularity_threshold": "stage3_module_granularity_threshold",
}
_ZERO_DEFAULTS: dict[str, Any] = {
    "stage": 0,
    "contiguous_gradients": True,
    "reduce_scatter": True,
    "reduce_bucket_size": 500_000_000,
    "allgather_partitions": True,
    "allgather_bucket_size": 500_000_000,
}
_STAGE3_DEFAULTS: dict[str, Any] = {
    "sub_group_size": 1_000_000_000,
    "stage3_prefetch_bucket_size": 50_000_000,
    "stage3_param_persistence_threshold": 100_000,
    "stage3_max_live_parameters": 1_000_000_000,
    "stage3_max_reuse_distance": 1_000_000_000,
    "stage3_gather_16bit_weights_on_model_save": False,
}
_FP16_DEFAULTS: dict[str, Any] = {
    "enabled": False,
    "loss_scale": 0,
    "initial_scale_power": 16,
    "loss_scale_window": 1000,
    "hysteresis": 2,
    "min_loss_scale": 1,
}
_HIDDEN_SIZE_KEYS = (
    "reduce_bucket_size",
    "stage3_prefetch_bucket_size",
    "stage3_param_persistence_threshold",
)


@dataclass(kw_only=True, slots=True)
class Effective:
    """The config that takes effect."""

    config: dict[str, Any] = field(default_factory=dict)
    unresolved: list[str] = field(default_factory=list)
    """Pointers within the config of "auto" values that nothing resolves ("/bf16/enabled")."""
    notes: list[str] = field(default_factory=list)
    """One sentence for each thing that was merged, dropped, or cannot be known from here."""


def resolve(
    given: dict[str, Any],
    *,
    training: dict[str, Any],
    loop: str | None,
    model_config: dict[str, Any] | None,
    world_size: int | None,
    version: str | None = None,
) -> Effective:
    """What takes effect of a config.

    Args:
        given: The config as parsed; not changed.
        training: The training arguments that were given; the others have the defaults of `TrainingArguments`.
        loop: "TRAINER" and "ACCELERATE" resolve "auto" from the arguments. "DEEPSPEED" resolves none: each is
            listed, and dropped where DeepSpeed drops it. None: resolved as the Trainer would, and listed.
        model_config: The model's config.json, for the bucket sizes; None where it is not known.
        world_size: Data-parallel ranks of the real job, where known.
        version: DeepSpeed's version, for the defaults that changed; None: the newest known.
    """
    result = Effective(config=copy.deepcopy(given))
    config = result.config
    autos = list(_autos(config, ""))
    if loop == "DEEPSPEED":
        result.unresolved = autos
    else:
        _fill(config, training, loop, model_config, world_size, result.notes)
        later = _filled_later(config, model_config)
        left = [p for p in _autos(config, "") if p not in later]
        result.unresolved = autos if loop is None else left
    # After the filling, which knows only the new names.
    _merge_aliases(config, result.notes)
    for section in _DROPPING_SECTIONS:
        if isinstance(config.get(section), dict):
            _drop_autos(
                config[section], "/" + section, _filled_later(config, model_config), result.notes, loop
            )
    _write_defaults(config, parse(version))
    _write_batch(config, batch(config, training, loop, world_size))
    return result


def precision(effective: dict[str, Any]) -> str:
    """The number format that the model trains in: "fp32", "bf16" or "fp16"."""
    if _is_enabled(effective.get("bf16")):
        return "bf16"
    return "fp16" if _is_enabled(effective.get("fp16")) else "fp32"


def zero_stage(effective: dict[str, Any]) -> int:
    """The ZeRO stage, 0 where none (or none that can be read) is given."""
    section = effective.get("zero_optimization")
    if isinstance(section, bool):
        return int(section)
    value = section.get("stage") if isinstance(section, dict) else None
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    stage = number(value)
    return int(stage) if stage is not None else 0


def warmup_steps(training: dict[str, Any], total_steps: int | None) -> int | None:
    """Warm-up of the job in optimizer steps, as `TrainingArguments.get_warmup_steps` counts it.

    `warmup_steps` below 1 is a share of the whole job, and so is `warmup_ratio`, which counts where
    `warmup_steps` is not given. None where a share is given and the length is not known.
    """
    steps = number(training.get("warmup_steps")) or 0.0
    if steps >= 1:
        return int(steps)
    share = steps or number(training.get("warmup_ratio")) or 0.0
    if share <= 0:
        return 0
    return None if total_steps is None else math.ceil(total_steps * share)


def _is_enabled(section: Any) -> bool:
    value = section.get("enabled") if isinstance(section, dict) else None
    if isinstance(value, str):  # pydantic reads these words
        return value.lower() in ("1", "on", "t", "true", "y", "yes")
    return value is True or number(value) == 1


def _autos(value: Any, pointer: str) -> Iterator[str]:
    if pointer in _MEANT_AUTO or pointer.endswith("/replace_method"):
        return
    if value == AUTO:
        yield pointer
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if not str(key).startswith("_"):
            yield from _autos(item, f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")


def _drop_autos(
    section: dict[str, Any], pointer: str, later: set[str], notes: list[str], loop: str | None
) -> None:
    for key in list(section):
        here = f"{pointer}/{key}"
        if here in _MEANT_AUTO or (here in later and loop != "DEEPSPEED"):
            continue
        if section[key] == AUTO:
            del section[key]
            notes.append(f'DeepSpeed drops {here}, which is still "auto": its default holds')
        elif isinstance(section[key], dict):
            _drop_autos(section[key], here, later, notes, loop)


# --- deprecated and doubled names


def _merge_aliases(config: dict[str, Any], notes: list[str]) -> None:
    if "bfloat16" in config:
        old = config.pop("bfloat16")
        if config.get("bf16") is None:
            config["bf16"] = old
            notes.append("bfloat16 is the old name of bf16")
        else:
            notes.append("bfloat16 is ignored: bf16 is given as well")
    if isinstance(config.get("zero_optimization"), bool):
        config["zero_optimization"] = {"stage": int(config["zero_optimization"])}
        notes.append("zero_optimization as true or false is deprecated: it stands for stage 1 or 0")
    zero = config.get("zero_optimization")
    if not isinstance(zero, dict):
        return
    for old, new in (("cpu_offload", "offload_optimizer"), ("cpu_offload_param", "offload_param")):
        if isinstance(zero.get(old), bool):
            if zero.pop(old) and zero.get(new) is None:
                zero[new] = {"device": "cpu"}
            notes.append(f"zero_optimization.{old} is the old form of {new}.device")
    for old, new in _ZERO_ALIASES.items():
        if old in zero:
            zero.setdefault(new, zero.pop(old))
            notes.append(f"zero_optimization.{old} is another name of {new}")


# --- "auto", as the HF Trainer and accelerate fill it


def _fill(
    config: dict[str, Any],
    training: dict[str, Any],
    loop: str | None,
    model_config: dict[str, Any] | None,
    world_size: int | None,
    notes: list[str],
) -> None:
    def argument(name: str, default: Any) -> Any:
        value = training.get(name)
        return default if value is None else value

    triple = of_arguments(training)
    learning_rate = argument("learning_rate", LEARNING_RATE)
    max_steps = number(training.get("max_steps"))
    total = int(max_steps) if max_steps is not None and max_steps > 0 else None
    warmup = warmup_steps(training, total)
    values: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": triple.micro,
        "gradient_accumulation_steps": triple.accumulation,
        "gradient_clipping": argument("max_grad_norm", 1.0),
        "optimizer.params.lr": learning_rate,
        "optimizer.params.betas": [argument("adam_beta1", 0.9), argument("adam_beta2", 0.999)],
        "optimizer.params.eps": argument("adam_epsilon", 1e-8),
        "optimizer.params.weight_decay": argument("weight_decay", 0.0),
        "scheduler.params.warmup_min_lr": 0,
        "scheduler.params.warmup_max_lr": learning_rate,
        "scheduler.params.total_num_steps": total,
        "scheduler.params.warmup_num_steps": None if warmup is None else max(1, warmup),
        "fp16.enabled": bool(training.get("fp16") or training.get("fp16_full_eval")),
        "bf16.enabled": bool(training.get("bf16") or training.get("bf16_full_eval")),
        "zero_optimization.stage": 2,  # these four: the defaults of accelerate's plugin
        "zero_optimization.offload_optimizer.device": "none",
        "zero_optimization.offload_param.device": "none",
        "zero_optimization.stage3_gather_16bit_weights_on_model_save": False,
    }
    for path, value in values.items():
        _fill_one(config, path, value, notes, "the length of the job is needed")
    _add_precision(config, training)
    train = batch(config, training, loop, world_size).train
    _fill_one(config, "train_batch_size", train, notes, "the number of GPUs is needed")
    hidden = _hidden_size(model_config)
    sizes = (
        (None, None, None) if hidden is None else (hidden * hidden, int(0.9 * hidden * hidden), 10 * hidden)
    )
    for key, size in zip(_HIDDEN_SIZE_KEYS, sizes, strict=True):
        if key == "reduce_bucket_size" or zero_stage(config) == 3:
            _fill_one(config, f"zero_optimization.{key}", size, notes, "the model's hidden_size is needed")


def _add_precision(config: dict[str, Any], training: dict[str, Any]) -> None:
    """As `set_mixed_precision` of accelerate: the arguments turn on a precision whose section is not given."""
    if training.get("fp16"):
        config.setdefault("fp16", {"enabled": True, "auto_cast": True})
    elif training.get("bf16"):
        config.setdefault("bf16", {"enabled": True})


def _fill_one(config: dict[str, Any], path: str, value: Any, notes: list[str], missing: str) -> None:
    *sections, key = path.split(".")
    node: Any = config
    for name in sections:
        node = node.get(name)
        if not isinstance(node, dict):
            return
    if node.get(key) != AUTO:
        return
    if value is None:
        notes.append(f'{path} stays "auto" here: {missing}')
    else:
        node[key] = copy.copy(value)


def _filled_later(config: dict[str, Any], model_config: dict[str, Any] | None) -> set[str]:
    """Pointers of "auto" values that the Trainer fills later, knowing more, or that lie idle."""
    later = {
        "/train_batch_size", "/scheduler/params/total_num_steps", "/scheduler/params/warmup_num_steps",
    }  # fmt: skip
    idle = zero_stage(config) != 3
    for key in _HIDDEN_SIZE_KEYS:
        if model_config is None or (idle and key != "reduce_bucket_size"):
            later.add(f"/zero_optimization/{key}")
    return later


def _hidden_size(model_config: dict[str, Any] | None) -> int | None:
    """As the Trainer looks for it: the model's own, else its text part's; of several, the largest."""
    for part in (model_config, (model_config or {}).get("text_config")):
        if not isinstance(part, dict):
            continue
        if (size := number(part.get("hidden_size"))) is not None:
            return int(size)
        sizes = part.get("hidden_sizes")
        found = [n for n in map(number, sizes) if n is not None] if isinstance(sizes, list) else []
        if found:
            return int(max(found))
    return None


# --- defaults


def _write_defaults(config: dict[str, Any], version: Version) -> None:
    clipping = lookup("/gradient_clipping")
    config.setdefault("gradient_clipping", clipping.default_at(version) if clipping is not None else 1.0)
    config.setdefault("bf16", {})
    config.setdefault("fp16", {})
    config.setdefault("zero_optimization", {})
    if isinstance(config["bf16"], dict):
        config["bf16"].setdefault("enabled", False)
    if isinstance(config["fp16"], dict):
        defaults = _FP16_DEFAULTS if _is_enabled(config["fp16"]) else {"enabled": False}
        config["fp16"].update({k: v for k, v in defaults.items() if k not in config["fp16"]})
    zero = config["zero_optimization"]
    if isinstance(zero, dict):
        stage = zero_stage(config)
        defaults = (
            {"stage": 0} if stage == 0 else {**_ZERO_DEFAULTS, **(_STAGE3_DEFAULTS if stage == 3 else {})}
        )
        zero.update({k: v for k, v in defaults.items() if k not in zero})
        if stage and zero.get("overlap_comm") is None:
            zero["overlap_comm"] = stage == 3


def _write_batch(config: dict[str, Any], triple: Batch) -> None:
    """The inferred member of the triple; nothing where it is wrong: the rules then see what was given."""
    if triple.problems:
        config.setdefault("gradient_accumulation_steps", 1)
        return
    for key, value in (
        ("train_batch_size", triple.train),
        ("train_micro_batch_size_per_gpu", triple.micro),
        ("gradient_accumulation_steps", triple.accumulation),
    ):
        if value is not None and config.get(key) in (None, AUTO):
            config[key] = value

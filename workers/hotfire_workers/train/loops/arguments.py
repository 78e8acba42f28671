"""The job's training arguments -> `transformers.TrainingArguments`, and which of them a trial leaves out."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from pathlib import Path
from typing import Any

from hotfire_workers.train.loops.context import RankContext

# Arguments of the spec that are not TrainingArguments: the preparation and the model loader see to them.
OURS = frozenset(
    {
        "max_length", "packing", "packing_strategy", "neat_packing", "assistant_only_loss",
        "completion_only_loss", "chat_template", "add_special_tokens", "collator", "pad_token", "eos_token",
        "padding_side", "truncation_side", "attn_implementation", "peft", "trainable", "frozen",
        "optimizer_source", "loop", "enable_input_require_grads",
    }
)  # fmt: skip

# What changes neither a step's loss nor its update, or what a trial decides itself.
_LEFT_OUT_PREFIXES = (
    "logging_", "eval_", "save_", "hub_", "push_to_hub", "dataloader_", "ddp_", "fsdp", "log_", "do_",
    "torch_compile", "load_best", "metric_for", "greater_", "report_", "run_name", "trackio_", "include_for",
    "batch_eval", "restore_", "resume_", "per_device_eval", "prediction_", "skip_memory", "include_num",
)  # fmt: skip
_LEFT_OUT = frozenset(
    {
        "output_dir", "deepspeed", "disable_tqdm", "use_cpu", "no_cuda", "local_rank", "project", "debug",
        "auto_find_batch_size", "remove_unused_columns", "label_names", "length_column_name",
        "group_by_length", "train_sampling_strategy", "ignore_data_skip", "enable_jit_checkpoint",
        "bf16_full_eval", "fp16_full_eval", "parallelism_config", "accelerator_config", "max_steps",
        "num_train_epochs", "overwrite_output_dir", "data_seed", "tf32", "full_determinism", "seed",
    }
)  # fmt: skip
# The trial honours these in its own way: no need to list them as ignored.
_HONOURED = frozenset({"max_steps", "num_train_epochs", "seed", "deepspeed", "output_dir"})


@functools.cache
def _fields() -> dict[str, Any]:
    """Names of TrainingArguments here, with their defaults (None where a factory makes them)."""
    from transformers import TrainingArguments

    return {
        f.name: None if f.default is dataclasses.MISSING else f.default
        for f in dataclasses.fields(TrainingArguments)
        if f.init
    }


def with_defaults(training: dict[str, Any]) -> dict[str, Any]:
    """The given values over the defaults of TrainingArguments: what loops of our own read.

    Returns:
        A dict that has every TrainingArguments name, `warmup_ratio` and `lr_scheduler_kwargs` included.
    """
    given = {name: value for name, value in training.items() if value is not None}
    return {"warmup_ratio": None, "lr_scheduler_kwargs": None, **_fields(), **given}


def checkpointing(training: dict[str, Any]) -> tuple[bool, dict[str, Any] | None]:
    """Whether activations are checkpointed, and with which keywords (transformers had two names)."""
    for prefix in ("activation_checkpointing", "gradient_checkpointing"):
        if training.get(prefix) is not None:
            return bool(training[prefix]), training.get(f"{prefix}_kwargs")
    return False, None


def make_training_arguments(
    context: RankContext, *, deepspeed: dict[str, Any] | None, **overrides: Any
) -> Any:
    """`TrainingArguments` of a trial: the job's own where they touch a step, the trial's everywhere else.

    Names that do not reach a step are listed in `context.ignored_arguments`.

    Args:
        context: The rank. Its `total_steps` becomes `max_steps`, so that the schedule is the real job's.
        deepspeed: The DeepSpeed config; None for the reference.
        **overrides: Win over the job's arguments.
    """
    from transformers import TrainingArguments

    request = context.request
    known = _fields()
    kept: dict[str, Any] = {}
    for name, value in request.training.items():
        if name in OURS or value is None:
            continue
        if name in known and name not in _LEFT_OUT and not name.startswith(_LEFT_OUT_PREFIXES):
            kept[name] = value
        elif name not in _HONOURED and not (name == "warmup_ratio" and "warmup_steps" in known):
            context.ignored_arguments.append(name)
    kept.setdefault("per_device_train_batch_size", request.micro_batch_size)
    kept.setdefault("gradient_accumulation_steps", request.gradient_accumulation_steps)
    _fit_warmup(kept, request.training, known)
    _fit_optimizer(context, kept)
    kept |= {
        "output_dir": str(Path(request.run_dir) / "output"),
        "max_steps": context.total_steps,
        "seed": request.seed,
        "logging_steps": 1,
        "logging_strategy": "steps",
        "logging_nan_inf_filter": True,
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "use_cpu": context.device.type == "cpu",
    }
    if deepspeed is not None:
        kept["deepspeed"] = deepspeed
    kept |= overrides
    return TrainingArguments(**{name: value for name, value in kept.items() if name in known})


def _fit_warmup(kept: dict[str, Any], training: dict[str, Any], known: dict[str, Any]) -> None:
    """`warmup_steps` may be a share of the job, of which `warmup_ratio` is the older name."""
    steps = kept.get("warmup_steps")
    ratio = training.get("warmup_ratio")
    if steps is not None and float(steps) >= 1:
        kept["warmup_steps"] = int(steps)
    elif "warmup_ratio" in known:
        kept.pop("warmup_steps", None)
        if steps or ratio:
            kept["warmup_ratio"] = float(steps or ratio)
    elif ratio and not steps:
        kept["warmup_steps"] = float(ratio)


def _fit_optimizer(context: RankContext, kept: dict[str, Any]) -> None:
    """An optimizer whose library is not here cannot be tried: AdamW takes its place, as the trial says."""
    name = str(kept.get("optim") or "")
    missing = next((lib for word, lib in _OPTIMIZER_LIBRARIES.items() if word in name), None)
    if missing is None or importlib.util.find_spec(missing) is not None:
        return
    kept["optim"] = "adamw_torch"
    context.adapt(
        "/training/optim",
        name,
        "adamw_torch",
        f"{missing} is not installed here: the trial says nothing of the update rule of {name}",
    )


_OPTIMIZER_LIBRARIES = {
    "8bit": "bitsandbytes",
    "bnb": "bitsandbytes",
    "paged": "bitsandbytes",
    "galore": "galore_torch",
    "apollo": "apollo_torch",
    "lomo": "lomo_optim",
    "grokadamw": "grokadamw",
    "schedule_free": "schedulefree",
    "apex": "apex",
    "torchao": "torchao",
    "4bit": "torchao",
    "fp8": "torchao",
}

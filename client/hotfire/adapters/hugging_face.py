"""Files of Hugging Face `TrainingArguments`, and of TRL's `SFTConfig` with the script's arguments beside it.

Source: transformers 5.23 `TrainingArguments`, `examples/pytorch` (`ModelArguments`, `DataTrainingArguments`); TRL
0.24 and later `SFTConfig`, `ModelConfig`, `ScriptArguments` with the defaults there (lr 2e-5, checkpointing on).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hotfire.adapters.base import Adapted, Reader, attention, numeric

_LENGTHS = ("max_length", "max_seq_length", "block_size", "model_max_length", "max_source_length")
_TRL_LORA = {
    "lora_r": ("r", 16),
    "lora_alpha": ("lora_alpha", 32),
    "lora_dropout": ("lora_dropout", 0.05),
    "lora_target_modules": ("target_modules", None),
    "lora_target_parameters": ("target_parameters", None),
    "lora_modules_to_save": ("modules_to_save", None),
    "use_rslora": ("use_rslora", None),
    "use_dora": ("use_dora", None),
}
_TRL_DEFAULTS = {"learning_rate": 2e-5, "gradient_checkpointing": True, "max_length": 1024}


def adapt_arguments(arguments: Mapping[str, Any], base: Path) -> Adapted:
    """A spec from a file of `TrainingArguments`.

    Args:
        arguments: The file.
        base: Its folder.
    """
    reader = Reader("TrainingArguments", arguments, base)
    _common(reader)
    return reader.result()


def adapt_trl(arguments: Mapping[str, Any], base: Path) -> Adapted:
    """A spec from a config file of `trl sft`.

    Args:
        arguments: The file.
        base: Its folder.
    """
    reader = Reader("TRL", arguments, base)
    if reader.take("use_peft", "training.peft"):
        peft = {}
        for name, (field, default) in _TRL_LORA.items():
            value = reader.take(name, "training.peft")
            value = default if value is None else value
            if value is not None:
                peft[field] = numeric(value)
        targets = peft.get("target_modules")
        if isinstance(targets, list) and targets == ["all-linear"]:
            peft["target_modules"] = "all-linear"
        reader.put("training", "peft", peft)
    dtype = reader.take("dtype", "training.bf16") or reader.take("torch_dtype", "training.bf16")
    for name in ("load_in_4bit", "load_in_8bit"):
        if reader.arguments.get(name):
            reader.drop(name, "quantised weights are not tried")
    reader.move("dataset_train_split", "data", "split", str)
    _common(reader)
    training = reader.parts["training"]
    for field, default in _TRL_DEFAULTS.items():
        reader.put("training", field, default)
    if not training.get("fp16") and "bf16" not in training:
        # SFTConfig turns bf16 on by itself.
        training["bf16"] = True
    if dtype not in (None, "auto", "bfloat16", "float32", "float16"):
        reader.notes.append(f"dtype {dtype} is not tried")
    return reader.result()


def _mixture(reader: Reader) -> None:
    """The first data set of a mixture: TRL's `datasets`, `dataset_mixture` and `dataset_mixer` of its handbook."""
    for name in ("datasets", "dataset_mixture", "dataset_mixer"):
        value = reader.take(name, "data")
        if value is None or reader.parts["data"].keys() & {"uri", "hub_id"}:
            continue
        if isinstance(value, Mapping) and isinstance(value.get("datasets"), list):
            value = value["datasets"]
        elif isinstance(value, Mapping):
            value = [{"path": path} for path in value]
        entries = [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
        names = [str(entry.get("path") or entry.get("id")) for entry in entries]
        if not names or not reader.dataset(names[0]):
            reader.notes.append(f"data: {names[0] if names else name} was not found here")
            continue
        if len(set(names)) > 1:
            reader.notes.append(f"data: only {names[0]} of {len(names)} data sets ({', '.join(names)})")
        reader.put("data", "split", entries[0].get("split"))


def _common(reader: Reader) -> None:
    if model := reader.take("model_name_or_path", "model"):
        reader.model(model, revision="model_revision", remote_code="trust_remote_code")
    if value := reader.take("deepspeed", "deepspeed"):
        reader.deepspeed = reader.config_file(value)
    for name in ("train_file", "dataset_path", "data_path", "dataset_name"):
        value = reader.take(name, "data")
        if value is not None and not reader.parts["data"].keys() & {"uri", "hub_id"}:
            source = str(value[0] if isinstance(value, list) and value else value)
            if not reader.dataset(source):
                reader.notes.append(f"data: {source} was not found here")
    _mixture(reader)
    if (field := reader.take("dataset_text_field", "data.columns")) not in (None, "text"):
        reader.put("data", "columns", {"text": field})
    if "hub_id" not in reader.parts["data"]:
        reader.parts["data"].pop("split", None)
    for name in _LENGTHS:
        reader.move(name, "training", "max_length", int)
    reader.move("attn_implementation", "training", "attn_implementation", attention)
    reader.take_training_arguments()
    reader.put("training", "loop", "trainer")

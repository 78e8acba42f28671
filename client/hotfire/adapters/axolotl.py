"""axolotl training files (YAML).

Source: `src/axolotl/utils/schemas/{config,training,peft,datasets,model}.py` of axolotl 0.12 and later, with the
defaults there: micro batch 1, cosine schedule, adamw_torch_fused, one epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hotfire.adapters.base import Adapted, Reader, attention, numeric

_RENAMED = {
    "micro_batch_size": "per_device_train_batch_size",
    "num_epochs": "num_train_epochs",
    "optimizer": "optim",
    "lr_scheduler": "lr_scheduler_type",
    "sequence_len": "max_length",
    "sample_packing": "packing",
    "chat_template_jinja": "chat_template",
}
_DEFAULTS = {
    "per_device_train_batch_size": 1,
    "lr_scheduler_type": "cosine",
    "optim": "adamw_torch_fused",
    "num_train_epochs": 1.0,
    "max_length": 512,
}
_ATTENTIONS = {
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "eager_attention": "eager",
    "flex_attention": "flex_attention",
}
_FORMATS = {
    "alpaca": "alpaca",
    "chat_template": "messages",
    "sharegpt": "sharegpt",
    "completion": "text",
    "pretrain": "text",
}


def adapt(arguments: Mapping[str, Any], base: Path) -> Adapted:
    """A spec from the file.

    Args:
        arguments: The file.
        base: Its folder.
    """
    reader = Reader("axolotl", arguments, base)
    if model := reader.take("base_model", "model"):
        reader.model(model, revision="revision_of_model", remote_code="trust_remote_code")
    if value := reader.take("deepspeed", "deepspeed"):
        reader.deepspeed = reader.config_file(value)
    _data(reader)
    for name, field in _RENAMED.items():
        reader.move(name, "training", field, numeric)
    for field, default in _DEFAULTS.items():
        reader.put("training", field, default)
    _precision(reader)
    _attention(reader)
    _checkpointing(reader)
    _adapter(reader)
    whole = reader.take("train_on_inputs", "training.assistant_only_loss")
    if reader.parts["data"].get("format") != "text":
        reader.put("training", "assistant_only_loss", not whole)
    tokens = reader.take("special_tokens", "training.pad_token, training.eos_token")
    if isinstance(tokens, Mapping):
        reader.put("training", "pad_token", tokens.get("pad_token"))
        reader.put("training", "eos_token", tokens.get("eos_token"))
        if more := sorted(set(tokens) - {"pad_token", "eos_token"}):
            reader.notes.append(f"special_tokens: {', '.join(more)} are not used")
    reader.move("unfrozen_parameters", "training", "trainable", list)
    reader.drop("chat_template", "the tokenizer's own chat template is used; write chat_template for another")
    for name in ("load_in_8bit", "load_in_4bit", "gptq"):
        if reader.arguments.get(name):
            reader.drop(name, "quantised weights are not tried")
    reader.take_training_arguments()
    reader.put("training", "loop", "trainer")
    return reader.result()


def _data(reader: Reader) -> None:
    name = "datasets" if reader.given("datasets") else "pretraining_dataset"
    value = reader.take(name, "data")
    entries = value if isinstance(value, list) else [value] if value is not None else []
    entries = [{"path": entry} if isinstance(entry, str) else entry for entry in entries]
    entries = [entry for entry in entries if isinstance(entry, Mapping) and entry.get("path")]
    if not entries:
        return
    first = entries[0]
    if len(entries) > 1:
        names = ", ".join(str(entry["path"]) for entry in entries)
        reader.notes.append(f"data: only {first['path']} of {len(entries)} datasets ({names})")
    files = first.get("data_files")
    named = str((files if isinstance(files, str) else files[0]) if files else first["path"])
    source = named if reader.find(named) is not None else str(first["path"])
    if not reader.dataset(source):
        reader.notes.append(f"data: {named} was not found here")
    elif files and "hub_id" in reader.parts["data"]:
        reader.notes.append(f"data: only the file {named} of {source} is meant")
    if "hub_id" in reader.parts["data"]:
        reader.put("data", "split", first.get("split"))
    kind = first.get("type")
    kind = "pretrain" if name == "pretraining_dataset" else kind
    known = _FORMATS.get(str(kind).split(".")[0].split(":")[0]) if isinstance(kind, str) else None
    if known is None:
        reader.notes.append(f"data: the type {kind!r} of axolotl has no counterpart; the rows are looked at")
    else:
        reader.put("data", "format", known)
    _fields(reader, first, known)


def _fields(reader: Reader, entry: Mapping[str, Any], known: str | None) -> None:
    """The names of columns and roles."""
    properties = entry.get("message_property_mappings") or {}
    role = properties.get("role") or entry.get("message_field_role") or "role"
    if known == "messages" and role == "from":
        reader.parts["data"]["format"] = known = "sharegpt"
    expected = {"messages": "messages", "sharegpt": "conversations", "text": "text"}.get(known or "")
    column = entry.get("field_messages") or entry.get("field") or entry.get("text_column")
    if expected and column and column != expected:
        reader.put("data", "columns", {expected: column})
    roles = entry.get("roles")
    if isinstance(roles, Mapping):
        mapping = {
            source: target
            for target, sources in roles.items()
            for source in (sources if isinstance(sources, list) else [sources])
            if source != target
        }
        reader.put("data", "role_mapping", mapping or None)


def _precision(reader: Reader) -> None:
    for name in ("bf16", "fp16"):
        value = reader.take(name, f"training.{name}")
        if value in ("auto", "full"):
            value = True
            reader.notes.append(f'{name}: "{reader.arguments[name]}" is taken as true')
        reader.put("training", name, value)
    reader.move("bfloat16", "training", "bf16", bool)
    reader.move("float16", "training", "fp16", bool)


def _attention(reader: Reader) -> None:
    reader.move("attn_implementation", "training", "attn_implementation", attention)
    for name, implementation in _ATTENTIONS.items():
        if reader.take(name, "training.attn_implementation"):
            reader.put("training", "attn_implementation", implementation)


def _checkpointing(reader: Reader) -> None:
    value = reader.take("gradient_checkpointing", "training.gradient_checkpointing")
    if isinstance(value, str):
        reader.notes.append(f"gradient_checkpointing: {value!r} is taken as true")
        value = True
    reader.put("training", "gradient_checkpointing", value)


def _adapter(reader: Reader) -> None:
    kind = reader.take("adapter", "training.peft")
    if kind is None:
        return
    if kind not in ("lora", "qlora"):
        reader.notes.append(f"adapter {kind} is not tried")
        return
    where = "training.peft"
    target = reader.take("lora_target_modules", where)
    if reader.take("lora_target_linear", where):
        target = "all-linear"
    peft = {
        "r": reader.take("lora_r", where),
        "lora_alpha": reader.take("lora_alpha", where),
        "lora_dropout": reader.take("lora_dropout", where) or 0.0,
        "target_modules": target,
        "modules_to_save": reader.take("lora_modules_to_save", where),
        "use_dora": reader.take("peft_use_dora", where),
        "use_rslora": reader.take("peft_use_rslora", where),
        "layers_to_transform": reader.take("peft_layers_to_transform", where),
    }
    reader.put("training", "peft", {k: v for k, v in peft.items() if v is not None})
    if kind == "qlora":
        reader.notes.append("adapter qlora: tried as lora on weights that are not quantised")

"""LLaMA-Factory training files (YAML or JSON).

Source: `src/llamafactory/hparams/{model,data,finetuning}_args.py`, `data/README.md` (dataset_info.json) of
LLaMA-Factory 0.9; everything else in such a file is a `Seq2SeqTrainingArguments` name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hotfire.adapters.base import Adapted, Reader, attention

_ALPACA = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}
_TAGS = {"user_tag": "user", "assistant_tag": "assistant", "system_tag": "system", "observation_tag": "tool"}


def adapt(arguments: Mapping[str, Any], base: Path) -> Adapted:
    """A spec from the arguments.

    Args:
        arguments: The file.
        base: Its folder.
    """
    reader = Reader("LLaMA-Factory", arguments, base)
    if model := reader.take("model_name_or_path", "model"):
        reader.model(model, revision="model_revision", remote_code="trust_remote_code")
    if reader.given("deepspeed"):
        reader.deepspeed = reader.config_file(reader.take("deepspeed", "deepspeed"))
    _stage(reader)
    _data(reader)
    _tuning(reader)
    reader.move("cutoff_len", "training", "max_length", int)
    reader.put("training", "max_length", 2048)
    _packing(reader)
    reader.move("flash_attn", "training", "attn_implementation", attention)
    reader.move("disable_gradient_checkpointing", "training", "gradient_checkpointing", lambda off: not off)
    # LLaMA-Factory turns it on by itself, reentrant.
    reader.put("training", "gradient_checkpointing", True)
    reader.move(
        "use_reentrant_gc",
        "training",
        "gradient_checkpointing_kwargs",
        lambda reentrant: {"use_reentrant": bool(reentrant)},
    )
    reader.put("training", "gradient_checkpointing_kwargs", {"use_reentrant": True})
    reader.drop("template", "the tokenizer's own chat template is used; LLaMA-Factory renders its own")
    reader.drop("max_samples", "the sample is what the preflight reads")
    for name in ("quantization_bit", "quantization_method", "double_quantization"):
        reader.drop(name, "quantised weights are not tried")
    for name in ("upcast_layernorm", "pure_bf16", "use_unsloth", "enable_liger_kernel", "rope_scaling"):
        reader.drop(name, "changes the model in a way that a preflight does not")
    reader.take_training_arguments()
    reader.put("training", "loop", "trainer")
    return reader.result()


def _packing(reader: Reader) -> None:
    """Whole rows are packed, and marked off from each other with `neat_packing` only, which implies `packing`."""
    is_neat = bool(reader.take("neat_packing", "training.neat_packing"))
    is_packed = bool(reader.take("packing", "training.packing"))
    if is_neat or is_packed:
        reader.put("training", "packing", True)
        reader.put("training", "neat_packing", is_neat)


def _stage(reader: Reader) -> None:
    stage = reader.take("stage", "training: what is learnt") or "sft"
    if stage == "pt":
        reader.put("data", "format", "text")
        # Texts are joined and cut, unless the file says `packing: false`.
        if reader.arguments.get("packing") is not False:
            reader.put("training", "packing", True)
            reader.put("training", "packing_strategy", "wrapped")
        return
    if stage != "sft":
        reader.notes.append(
            f"stage {stage}: the steps of a preflight are those of supervised fine-tuning on the chosen answers"
        )
    whole = reader.take("train_on_prompt", "training.assistant_only_loss")
    reader.put("training", "assistant_only_loss", not whole)
    reader.drop("mask_history", "the answers of all turns are trained on here")


def _data(reader: Reader) -> None:
    names = reader.take("dataset", "data")
    folder = reader.take("dataset_dir", "data") or "data"
    if names is None:
        return
    listed = [str(n).strip() for n in (names if isinstance(names, list) else str(names).split(","))]
    if len(listed) > 1:
        reader.notes.append(f"data: only {listed[0]} of {len(listed)} datasets ({', '.join(listed)})")
    catalogue = reader.find(str(folder))
    entry, catalogue_folder = _entry(catalogue, listed[0])
    if entry is None:
        if not reader.dataset(listed[0]):
            reader.notes.append(f"data: {listed[0]} is in no dataset_info.json here; name the file yourself")
        return
    source = entry.get("file_name")
    if isinstance(source, str) and reader.dataset(str(catalogue_folder / source)):
        pass
    elif isinstance(hub := entry.get("hf_hub_url"), str):
        reader.put("data", "hub_id", hub)
    else:
        reader.notes.append(f"data: the file of {listed[0]} was not found here")
    _layout(reader, entry)


def _entry(catalogue: Path | None, name: str) -> tuple[dict[str, Any] | None, Path]:
    """The dataset's entry of dataset_info.json, and the folder that its file name starts from."""
    if catalogue is None:
        return None, Path()
    try:
        content = json.loads((catalogue / "dataset_info.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None, catalogue
    entry = content.get(name) if isinstance(content, dict) else None
    return (entry if isinstance(entry, dict) else None), catalogue


def _layout(reader: Reader, entry: Mapping[str, Any]) -> None:
    columns = entry.get("columns") if isinstance(entry.get("columns"), dict) else {}
    tags = entry.get("tags") if isinstance(entry.get("tags"), dict) else {}
    assert isinstance(columns, dict)
    assert isinstance(tags, dict)
    if entry.get("formatting", "alpaca") == "alpaca":
        reader.put("data", "format", "alpaca")
        renamed = {_ALPACA[k]: v for k, v in columns.items() if k in _ALPACA and v != _ALPACA[k]}
    else:
        as_messages = tags.get("role_tag") == "role"
        reader.put("data", "format", "messages" if as_messages else "sharegpt")
        expected = "messages" if as_messages else "conversations"
        name = columns.get("messages", "conversations")
        renamed = {expected: name} if name != expected else {}
    if renamed:
        reader.put("data", "columns", renamed)
    roles = {tags[k]: role for k, role in _TAGS.items() if k in tags and tags[k] != role}
    if roles:
        reader.put("data", "role_mapping", roles)


def _tuning(reader: Reader) -> None:
    kind = reader.take("finetuning_type", "training.peft") or "lora"
    if kind == "lora":
        _lora(reader)
    elif kind not in ("full", "lora"):
        reader.notes.append(f"finetuning_type {kind}: which parameters are trained must be said by hand")


def _lora(reader: Reader) -> None:
    where = "training.peft"
    rank = int(reader.take("lora_rank", where) or 8)
    target = reader.take("lora_target", where) or "all"
    if isinstance(target, str):
        target = "all-linear" if target == "all" else [part.strip() for part in target.split(",")]
    peft: dict[str, Any] = {
        "r": rank,
        "lora_alpha": reader.take("lora_alpha", where) or 2 * rank,
        "lora_dropout": reader.take("lora_dropout", where) or 0.0,
        "target_modules": target,
    }
    for name, field in (("use_rslora", "use_rslora"), ("use_dora", "use_dora")):
        if (value := reader.take(name, where)) is not None:
            peft[field] = value
    if extra := reader.take("additional_target", where):
        peft["modules_to_save"] = extra if isinstance(extra, list) else [e.strip() for e in extra.split(",")]
    reader.put("training", "peft", peft)

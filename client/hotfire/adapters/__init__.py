"""Files of other tools as specs: `TrainingArguments`, TRL, LLaMA-Factory, axolotl, ms-swift, accelerate.

    adapted = adapters.read("llama3_lora_sft.yaml")
    adapted.document      # the spec in file form
    adapted.ignored       # every key that was not used, and why

Pure parsing: none of the tools is imported. Every key of the file is either mapped or listed as ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hotfire._document import read_document
from hotfire.adapters import accelerate, axolotl, hugging_face, llamafactory, ms_swift
from hotfire.adapters.base import Adapted
from hotfire.errors import SpecError

__all__ = ["TOOLS", "Adapted", "adapt", "read", "recognise"]

TOOLS: dict[str, Callable[[Mapping[str, Any], Path], Adapted]] = {
    "accelerate": accelerate.adapt,
    "axolotl": axolotl.adapt,
    "llamafactory": llamafactory.adapt,
    "ms-swift": ms_swift.adapt,
    "trl": hugging_face.adapt_trl,
    "transformers": hugging_face.adapt_arguments,
}
"""Name -> adapter."""
_TRL_KEYS = frozenset(
    (
        "use_peft",
        "dataset_name",
        "dataset_train_split",
        "assistant_only_loss",
        "completion_only_loss",
        "eos_token",
        "dataset_mixture",
        "dataset_mixer",
        "dataset_num_proc",
        "max_seq_length",
        "packing",
    )
)
_SWIFT_KEYS = frozenset(("tuner_type", "train_type", "torch_dtype", "attn_impl", "target_regex", "lora_rank"))


def recognise(arguments: Mapping[str, Any]) -> str | None:
    """The tool whose file this is, by its keys; None where it may be plain `TrainingArguments`."""
    names = set(arguments)
    if "deepspeed_config" in names or names >= {"distributed_type", "num_processes"}:
        return "accelerate"
    if "base_model" in names and names & {
        "sequence_len",
        "datasets",
        "micro_batch_size",
        "pretraining_dataset",
    }:
        return "axolotl"
    if names & {"finetuning_type", "cutoff_len"} or names >= {"model_name_or_path", "stage"}:
        return "llamafactory"
    if names & {"model", "model_id_or_path"} and names & {"dataset", *_SWIFT_KEYS}:
        return "ms-swift"
    if "model_name_or_path" in names and names & _TRL_KEYS:
        return "trl"
    return None


def adapt(arguments: Mapping[str, Any], base: Path, *, tool: str | None = None) -> Adapted:
    """A spec from the keys of a file.

    Args:
        arguments: The file.
        base: Its folder, from which relative paths start.
        tool: One of `TOOLS`; default: by the keys.
    """
    return TOOLS[tool or recognise(arguments) or "transformers"](arguments, base)


def read(path: Path, *, tool: str | None = None) -> Adapted:
    """A spec from a file.

    Args:
        path: YAML, JSON, or a shell script that calls `swift sft`.
        tool: One of `TOOLS`; default: by the keys.

    Raises:
        SpecError: It cannot be read, or is no file of arguments.
        MissingExtraError: It is YAML and PyYAML is not installed.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path} is not UTF-8 text") from None
    if path.suffix.lower() in (".sh", ".bash"):
        arguments = ms_swift.of_shell(text)
        if arguments is None:
            raise SpecError(f"{path} does not call `swift sft`, `swift pt` or `swift rlhf`")
        return adapt(arguments, path.absolute().parent, tool="ms-swift")
    document = read_document(text, path=path)
    if document.problems:
        raise SpecError(f"{path}: {document.problems[0]}", violations=document.problems)
    if not isinstance(document.data, Mapping) or not document.data:
        raise SpecError(f"{path}: must be a mapping of arguments")
    adapted = adapt(document.data, path.absolute().parent, tool=tool)
    if not adapted.mapped:
        raise SpecError(f"{path}: none of its keys is an argument of {', '.join(TOOLS)}")
    return adapted

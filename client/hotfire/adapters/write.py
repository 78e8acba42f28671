"""A spec as a `hotfire.yaml` for people: what was taken, what is missing, and what was ignored, as comments."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from hotfire.adapters.base import Adapted
from hotfire.errors import MissingExtraError

TEMPLATE = """\
# A preflight: a few real steps of your training job before it takes the cluster.
#   hotfire lint    checks this without running anything
#   hotfire check   runs it
model: ./model                  # a folder, or a hub id
data: ./train.jsonl             # some hundred rows are plenty
deepspeed: ./ds_config.json     # the config of the job, as it is

training:                       # names of transformers.TrainingArguments
  per_device_train_batch_size: 1
  gradient_accumulation_steps: 1
  learning_rate: 2.0e-5
  num_train_epochs: 3
  bf16: true
  max_length: 2048              # longest row in tokens
  assistant_only_loss: true     # train on the assistant's turns only
  # lr_scheduler_type: cosine
  # warmup_ratio: 0.03
  # max_grad_norm: 1.0
  # gradient_checkpointing: true
  # peft: {r: 16, lora_alpha: 32, target_modules: all-linear}
  # loop: trainer               # who runs it: trainer, accelerate, deepspeed

cluster:                        # of the real job
  num_gpus: 8                   # of all nodes together
  # num_nodes: 1
  # gpu_memory_bytes: 80GiB
  # host_memory_bytes: 1TiB
  # num_train_rows: 100000
  # versions: {deepspeed: 0.18.2, transformers: 5.1.0}

# plan:                         # how to run the preflight
#   num_steps: 8
#   time_budget: 5m
"""
_MISSING = {
    "model": "model:                        # missing: a folder, or a hub id",
    "data": "data:                         # missing: a file of rows",
    "deepspeed": "deepspeed:                    # missing: the job's DeepSpeed config",
}
_WIDTH = 100


def to_yaml(adapted: Adapted, *, source: str, folder: Path) -> str:
    """The spec file.

    Args:
        adapted: What was read.
        source: The file it came from, as people name it.
        folder: Where the spec file will lie: paths below it are written relative to it.

    Raises:
        MissingExtraError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("writing YAML needs PyYAML: pip install 'hotfire[cli]'") from None
    lines = [f"# Made by hotfire init from {source} ({adapted.tool})."]
    for note in adapted.notes:
        lines += textwrap.wrap(note, _WIDTH, initial_indent="# note: ", subsequent_indent="#   ")
    document = _relative(adapted.document, folder.resolve())
    for part in ("model", "data", "deepspeed", "training", "cluster"):
        if part in document:
            value = _short(part, document[part])
            lines += ["", yaml.safe_dump({part: value}, sort_keys=False, allow_unicode=True).rstrip("\n")]
        elif part in _MISSING:
            lines += ["", _MISSING[part]]
    if "cluster" not in document:
        lines += ["", "# cluster: {num_gpus: 8}    # of the real job, all nodes together"]
    if adapted.ignored:
        lines += ["", f"# Not used, of {source}:"]
        width = max(map(len, adapted.ignored))
        lines += [f"#   {name:<{width}}  {why}" for name, why in adapted.ignored.items()]
    return "\n".join(lines) + "\n"


def _short(part: str, value: Any) -> Any:
    """The short form, where only one thing is said."""
    if part in ("model", "data") and isinstance(value, dict) and len(value) == 1:
        ((kind, text),) = value.items()
        if kind in ("path", "uri") or (part == "model" and kind == "hub_id"):
            return text
    return value


def _relative(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {k: _relative(v, folder) for k, v in value.items()}
    if isinstance(value, str) and Path(value).is_absolute():
        try:
            return f"./{Path(value).resolve().relative_to(folder).as_posix()}"
        except ValueError:
            return value
    return value

"""ms-swift arguments: a YAML or JSON file (args.json too), or the shell script that calls `swift sft`.

Source: `swift/arguments/{sft_args,tuner_args}.py`, `base_args/*.py` and `swift/trainers/arguments.py` of ms-swift
3 and 4, with the defaults there: lora, micro batch 1, cosine, checkpointing on, lr 1e-4 (full: 1e-5).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hotfire.adapters.base import Adapted, Reader, attention, numeric
from hotfire.adapters.ms_swift_configs import NAMES, named_config

_DEFAULTS = {
    "per_device_train_batch_size": 1,
    "lr_scheduler_type": "cosine",
    "weight_decay": 0.1,
    "adam_beta2": 0.95,
    "gradient_checkpointing": True,
}
_LORA = {
    "lora_alpha": ("lora_alpha", 32),
    "lora_dropout": ("lora_dropout", 0.05),
    "lora_bias": ("bias", None),
    "use_rslora": ("use_rslora", None),
    "use_dora": ("use_dora", None),
    "modules_to_save": ("modules_to_save", None),
}
_COMMANDS = ("sft", "pt", "rlhf")
#: In a shell only at the start of a word: `--dataset swift/self-cognition#1000` has none.
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$")


def adapt(arguments: Mapping[str, Any], base: Path) -> Adapted:
    """A spec from the arguments.

    Args:
        arguments: By name, without dashes.
        base: The file's folder.
    """
    reader = Reader("ms-swift", arguments, base)
    for name, value in arguments.items():
        if any(
            "$" in str(part) and "regex" not in name
            for part in (value if isinstance(value, list) else [value])
        ):
            reader.arguments[name] = None
            reader.ignored[name] = "a shell expression that is not worked out here"
    if model := reader.take("model", "model"):
        reader.model(model, revision="model_revision")
    _deepspeed(reader)
    _data(reader)
    _tuner(reader)
    dtype = reader.take("torch_dtype", "training.bf16, training.fp16")
    reader.put("training", "bf16", True if dtype == "bfloat16" else None)
    reader.put("training", "fp16", True if dtype == "float16" else None)
    reader.move("attn_impl", "training", "attn_implementation", attention)
    reader.move("max_length", "training", "max_length", int)
    loss = reader.take("loss_scale", "training.assistant_only_loss")
    reader.put("training", "assistant_only_loss", loss != "all")
    if loss not in (None, "all", "default"):
        reader.notes.append(f"loss_scale {loss}: tokens are weighted 0 or 1 here")
    reader.move("nproc_per_node", "cluster", "num_gpus", int)
    reader.move("nnodes", "cluster", "num_nodes", int)
    if reader.parts["cluster"].get("num_nodes") and reader.parts["cluster"].get("num_gpus"):
        reader.parts["cluster"]["num_gpus"] *= reader.parts["cluster"]["num_nodes"]
    for name in ("template", "system", "agent_template"):
        reader.drop(name, "the tokenizer's own chat template is used; ms-swift renders its own")
    for name in ("quant_method", "quant_bits", "bnb_4bit_compute_dtype"):
        reader.drop(name, "quantised weights are not tried")
    reader.take_training_arguments()
    for field, default in _DEFAULTS.items():
        reader.put("training", field, default)
    full = reader.parts["training"].get("peft") is None
    reader.put("training", "learning_rate", 1e-5 if full else 1e-4)
    if not reader.given("gradient_accumulation_steps"):
        reader.notes.append("gradient_accumulation_steps: ms-swift chooses it by the number of GPUs; 1 here")
    reader.put("training", "loop", "trainer")
    return reader.result()


def _deepspeed(reader: Reader) -> None:
    value = reader.take("deepspeed", "deepspeed")
    if value is None:
        return
    # ms-swift 2 and early 3 wrote default-zero2.
    name = value.removeprefix("default-") if isinstance(value, str) else None
    if name in NAMES:
        reader.deepspeed = named_config(name)
    elif isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            reader.deepspeed = json.loads(value)
        except ValueError:
            reader.notes.append("deepspeed: the text is no JSON object")
    else:
        reader.deepspeed = reader.config_file(value)
    hpz = reader.take("zero_hpz_partition_size", "deepspeed.zero_optimization.zero_hpz_partition_size")
    tensor_parallel = reader.take("deepspeed_autotp_size", "deepspeed.tensor_parallel.autotp_size")
    if hpz is None and tensor_parallel is None:
        return
    if not isinstance(reader.deepspeed, dict):
        reader.notes.append(
            "zero_hpz_partition_size and deepspeed_autotp_size are left to the DeepSpeed file"
        )
        return
    zero = reader.deepspeed.setdefault("zero_optimization", {})
    if hpz is not None:
        zero["zero_hpz_partition_size"] = int(hpz)
    if tensor_parallel is not None:
        reader.deepspeed.setdefault("tensor_parallel", {})["autotp_size"] = int(tensor_parallel)
        zero["gather_16bit_weights_on_model_save"] = True


def _data(reader: Reader) -> None:
    value = reader.take("dataset", "data")
    names = [str(v) for v in (value if isinstance(value, list) else [value])] if value else []
    if not names:
        return
    if len(names) > 1:
        reader.notes.append(f"data: only {names[0]} of {len(names)} datasets ({', '.join(names)})")
    # "path:subset#500": a subset, and how many rows of it.
    source = re.sub(r"#\d+$", "", names[0])
    found = reader.dataset(source) or reader.dataset(source.split(":")[0])
    if not found:
        reader.notes.append(f"data: {source} was not found here")
    columns = reader.take("columns", "data.columns")
    if isinstance(columns, str):
        columns = json.loads(columns) if columns.lstrip().startswith("{") else None
    if isinstance(columns, Mapping):
        reader.put("data", "columns", {str(new): str(old) for old, new in columns.items()})


def _tuner(reader: Reader) -> None:
    kind = reader.take("tuner_type", "training.peft") or reader.take("train_type", "training.peft") or "lora"
    if kind == "full":
        _frozen(reader)
        return
    if kind != "lora":
        reader.notes.append(f"train_type {kind} is not tried")
        return
    where = "training.peft"
    target = reader.take("target_regex", where) or reader.take("target_modules", where) or "all-linear"
    target = target[0] if isinstance(target, list) and target == ["all-linear"] else target
    peft: dict[str, Any] = {"r": int(reader.take("lora_rank", where) or 8), "target_modules": target}
    for name, (field, default) in _LORA.items():
        value = reader.take(name, where)
        value = default if value is None else value
        if field == "modules_to_save" and isinstance(value, str):
            value = [value]
        if value is not None:
            peft[field] = numeric(value)
    reader.put("training", "peft", peft)


def _frozen(reader: Reader) -> None:
    """Prefixes and patterns of names; what is made trainable wins over what is frozen, as in a spec."""
    for kind, field in (("freeze", "frozen"), ("trainable", "trainable")):
        patterns = []
        prefixes = reader.take(f"{kind}_parameters", f"training.{field}")
        if prefixes:
            listed = prefixes if isinstance(prefixes, list) else [prefixes]
            patterns += [f"^{re.escape(str(prefix))}" for prefix in listed]
        if pattern := reader.take(f"{kind}_parameters_regex", f"training.{field}"):
            patterns.append(str(pattern))
        reader.put("training", field, patterns or None)
    reader.drop("freeze_parameters_ratio", "name the frozen parameters in training.frozen")


def of_shell(text: str) -> dict[str, Any] | None:
    """The arguments of the first `swift sft` (pt, rlhf) of a shell script; None if there is none.

    Args:
        text: The script.
    """
    joined = re.sub(r"\\\r?\n", " ", text)
    assigned: dict[str, str] = {}
    for line in joined.splitlines():
        try:
            words = shlex.split(_evaluated(_COMMENT.sub("", line), assigned))
        except ValueError:
            continue
        while words and (match := re.fullmatch(r"(?:export\s+)?([A-Za-z_]\w*)=(.*)", words[0])):
            assigned[match[1]] = match[2]
            words = words[1:]
        if words[:1] == ["export"] and len(words) > 1 and "=" in words[1]:
            name, _, value = words[1].partition("=")
            assigned[name] = value
        at = next((i for i, w in enumerate(words[:-1]) if w == "swift" and words[i + 1] in _COMMANDS), None)
        if at is not None:
            return _of_words(words[at + 2 :], assigned)
    return None


def _evaluated(line: str, assigned: Mapping[str, str]) -> str:
    """A line with its variables and simple arithmetic (`$(expr 32 / 4)`, `$((32 / 4))`) worked out."""
    line = re.sub(r"\$\{?(\w+)\}?", lambda m: assigned.get(m[1], m[0]), line)

    def result(match: re.Match[str]) -> str:
        left, operation, right = int(match[1]), match[2].strip("\\'"), int(match[3])
        if operation == "/":
            return str(left // right) if right else match[0]
        return str({"*": left * right, "+": left + right, "-": left - right}[operation])

    return re.sub(r"\$\((?:\(|\s*expr\s)\s*(\d+)\s*(\\?[*/+-])\s*(\d+)\s*\)\)?", result, line)


def _of_words(words: list[str], assigned: dict[str, str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    name: str | None = None
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            arguments[name] = _value(value) if equals else True
        elif name is not None:
            before = arguments[name]
            if before is True:
                arguments[name] = _value(word)
            else:
                arguments[name] = [*(before if isinstance(before, list) else [before]), _value(word)]
    for variable in ("NPROC_PER_NODE", "NNODES"):
        if assigned.get(variable, "").isdigit():
            arguments.setdefault(variable.lower(), int(assigned[variable]))
    return arguments


def _value(word: str) -> Any:
    """A word as its type: the command line has only texts."""
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    if re.fullmatch(r"[-+]?\d+", word):
        return int(word)
    if re.fullmatch(r"[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?", word):
        return float(word)
    return word

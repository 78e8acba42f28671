"""What every adapter is made of: keys are taken one by one, and what nobody took is listed with a reason."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hotfire._training import OTHER_NAMES, typed_names

SECRET = frozenset({"hub_token", "push_to_hub_token", "hf_hub_token", "ms_hub_token", "swanlab_token"})
_AFTER_THE_STEP = re.compile(
    r"save|eval|val_|hub|log|wandb|swanlab|tensorboard|mlflow|comet|trackio|report|plot|output|run_name|push|resume|"
    r"seed_model|overwrite|predict|generat|early_stopping|load_best|metric|cache|preprocess|num_proc|num_workers|"
    r"prepared|ddp_timeout|disable_tqdm|dataset_num|streaming|buffer"
)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclasses.dataclass(kw_only=True, slots=True)
class Adapted:
    """A spec made of another tool's file."""

    tool: str
    document: dict[str, Any]
    """The spec in file form: model, data, deepspeed, training, cluster, as far as the file says it."""
    mapped: dict[str, str]
    """Key of the file -> where in the spec it went."""
    ignored: dict[str, str]
    """Key of the file -> why it was not used."""
    notes: list[str]
    """What the file leaves open, or what the tool adds by itself."""

    @property
    def missing(self) -> list[str]:
        """Required parts that the file does not give."""
        return [part for part in ("model", "data", "deepspeed") if part not in self.document]


class Reader:
    """The keys of a file, each of which is taken once."""

    def __init__(self, tool: str, arguments: Mapping[str, Any], base: Path) -> None:
        self.tool = tool
        self.base = base
        self.arguments = dict(arguments)
        self.mapped: dict[str, str] = {}
        self.ignored: dict[str, str] = {}
        self.notes: list[str] = []
        self.parts: dict[str, dict[str, Any]] = {
            "model": {},
            "data": {},
            "training": {},
            "cluster": {},
        }
        self.deepspeed: str | dict[str, Any] | None = None

    def given(self, name: str) -> bool:
        """The file gives the key a value."""
        return self.arguments.get(name) is not None

    def take(self, name: str, to: str) -> Any:
        """The value of a key, which thereby counts as mapped; None where it is not given."""
        if not self.given(name):
            return None
        self.mapped[name] = to
        return self.arguments[name]

    def drop(self, name: str, why: str) -> None:
        """Notes that a key is not used."""
        if name in self.arguments and name not in self.mapped:
            self.ignored[name] = why

    def put(self, part: str, field: str, value: Any) -> None:
        """Sets a field of the spec, unless it is None or set."""
        if value is not None:
            self.parts[part].setdefault(field, value)

    def move(self, name: str, part: str, field: str, convert: Any = None) -> None:
        """Takes a key into a field."""
        value = self.take(name, f"{part}.{field}")
        if value is not None:
            self.put(part, field, convert(value) if convert is not None else value)

    def take_training_arguments(self) -> None:
        """Takes every name of `TrainingArguments` that is still there."""
        typed = set(typed_names())
        for name in list(self.arguments):
            if name in self.mapped or name in self.ignored or not self.given(name):
                continue
            if name in SECRET:
                self.ignored[name] = "a secret"
            elif name in ("output_dir", "logging_dir", "local_rank"):
                self.ignored[name] = "where files go is of no matter to a step"
            elif name in typed or name in OTHER_NAMES:
                value = self.take(name, f"training.{name}")
                self.put("training", name, numeric(value))

    def model(self, value: Any, *, revision: str | None = None, remote_code: str | None = None) -> None:
        """Sets the model from a folder or hub id, with the keys beside it."""
        text = str(value)
        path = self.find(text)
        if path is not None:
            self.put("model", "path", str(path))
        elif text.startswith((".", "/", "~")):
            self.put("model", "path", text)
            self.notes.append(f"model: {text} was not found here")
        else:
            self.put("model", "hub_id", text)
        if revision is not None:
            self.move(revision, "model", "revision", str)
        if remote_code is not None:
            self.move(remote_code, "model", "trust_remote_code", bool)

    def dataset(self, value: str) -> bool:
        """Sets the data from a file or hub id; says whether it could."""
        path = self.find(value)
        if path is not None and path.is_file():
            self.put("data", "uri", str(path))
            return True
        if path is None and _HUB_ID.fullmatch(value):
            self.put("data", "hub_id", value)
            return True
        return False

    def find(self, text: str) -> Path | None:
        """A path of the file that exists: tools take them relative to where they are started, which is often above."""
        path = Path(text).expanduser()
        if path.is_absolute():
            return path if path.exists() else None
        for folder in (self.base, Path.cwd(), *self.base.parents):
            if (folder / path).exists():
                return (folder / path).resolve()
        return None

    def config_file(self, value: Any) -> str | dict[str, Any]:
        """A DeepSpeed config: a mapping, or a path (absolute where the file is found)."""
        if isinstance(value, Mapping):
            return dict(value)
        path = self.find(str(value))
        if path is None:
            self.notes.append(f"deepspeed: {value} was not found here")
        return str(path) if path is not None else str(value)

    def result(self) -> Adapted:
        """The spec; every key that was not taken is listed."""
        for name, value in self.arguments.items():
            if name in self.mapped or name in self.ignored:
                continue
            if value is None or value == "":
                self.ignored[name] = "empty"
            elif _AFTER_THE_STEP.search(name):
                self.ignored[name] = "about logging, saving, evaluation or reading, not about a step"
            else:
                self.ignored[name] = "has no counterpart in a spec"
        document: dict[str, Any] = {}
        for part in ("model", "data"):
            if self.parts[part]:
                document[part] = self.parts[part]
        if self.deepspeed is not None:
            document["deepspeed"] = self.deepspeed
        for part in ("training", "cluster"):
            if self.parts[part]:
                document[part] = self.parts[part]
        return Adapted(
            tool=self.tool,
            document=document,
            mapped=self.mapped,
            ignored=self.ignored,
            notes=self.notes,
        )


def numeric(value: Any) -> Any:
    """A number that YAML 1.1 reads as text (2e-5), as the tools convert it; anything else as it is."""
    if isinstance(value, str):
        try:
            return float(value) if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value.strip()) else value
        except ValueError:
            return value
    return value


ATTENTION = {
    "fa2": "flash_attention_2",
    "fa3": "flash_attention_3",
    "flash_attn": "flash_attention_2",
    "flash_attention": "flash_attention_2",
    "disabled": "eager",
}
"""Names that tools have for attention implementations."""


def attention(value: Any) -> str | None:
    """The name that transformers has for it; None for "auto"."""
    text = str(value)
    return None if text in ("auto", "None") else ATTENTION.get(text, text)

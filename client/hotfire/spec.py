"""The one loader of specs: from a YAML or JSON file, a mapping, or the arguments of `hotfire.check()`.

    loaded = load("hotfire.yaml")            # or a folder, which means its hotfire.yaml
    loaded = load({"model": "./m", ...})
    message = loaded.message()               # a PreflightSpec

Everything that is wrong is reported at once (`SpecError.violations`), each with line, key, value and, for a
misspelt name, the nearest known one.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hotfire import wire
from hotfire._conveniences import Normalised, local_path, normalise
from hotfire._document import Document, read_document
from hotfire.adapters.base import Adapted
from hotfire.adapters.expand import expand
from hotfire.errors import SpecError, Violation
from hotfire.v1 import spec_pb2

FILE_NAMES = ("hotfire.yaml", "hotfire.yml", "hotfire.json")
"""What a folder may hold, in order of preference."""
REQUIRED = ("model", "data", "deepspeed")
MAX_ROWS = 2000
"""Rows taken of an iterable data set; a sample is what a preflight needs."""


@dataclasses.dataclass(kw_only=True, slots=True)
class LoadedSpec:
    """A spec, and the files on this machine that it names."""

    spec: spec_pb2.PreflightSpec
    """The message, without inline rows. Local files stand as absolute `path` and `file://` addresses."""
    rows: list[dict[str, Any]] | None = None
    path: Path | None = None
    """The spec file, if it was one."""
    base: Path = dataclasses.field(default_factory=Path.cwd)
    model_path: Path | None = None
    model_is_local: bool = False
    data_path: Path | None = None
    deepspeed_path: Path | None = None
    training_path: Path | None = None
    adapted: Adapted | None = None
    """Where `training` was another tool's file: what it gave, and which of its keys were ignored."""

    def message(self) -> spec_pb2.PreflightSpec:
        """The whole message, inline rows and all, files as paths on this machine."""
        message = spec_pb2.PreflightSpec()
        message.CopyFrom(self.spec)
        if self.rows is not None:
            message.data.rows.extend(wire.dict_to_struct(row) for row in self.rows)
        return message

    def roots(self) -> list[Path]:
        """Folders that a worker on this machine must be allowed to read for this spec."""
        named = [self.base, Path.cwd(), self.model_path, self.data_path and self.data_path.parent]
        unique = {path.resolve(): None for path in named if path is not None}
        # A model folder of symbolic links (the hub's cache) is read through them.
        if self.model_path is not None and self.model_path.is_dir():
            for entry in self.model_path.iterdir():
                if entry.is_symlink():
                    unique[entry.resolve().parent] = None
        return list(unique)


def load(
    source: str | os.PathLike[str] | Mapping[str, Any] | spec_pb2.PreflightSpec | LoadedSpec,
    *,
    base: str | os.PathLike[str] | None = None,
    overrides: Iterable[str] = (),
    required: Iterable[str] = REQUIRED,
) -> LoadedSpec:
    """Reads a spec.

    Args:
        source: A file, a folder (its hotfire.yaml), a mapping in the file's form, or a finished message.
        base: The folder relative paths start from; default: the file's folder, or the working folder.
        overrides: "training.max_steps=10" and the like; the value is JSON, or else text.
        required: The parts that must be there.

    Raises:
        SpecError: With every violation.
        MissingExtraError: The file is YAML and PyYAML is not installed.
    """
    if isinstance(source, LoadedSpec):
        return source
    if isinstance(source, spec_pb2.PreflightSpec):
        return LoadedSpec(spec=source)
    if isinstance(source, Mapping):
        document = Document(dict(source))
        return _build(document, None, Path(base or Path.cwd()).absolute(), overrides, required)
    path = find_file(source)
    document = read_document(_text(path), path=path)
    folder = Path(base).absolute() if base is not None else path.parent
    return _build(document, path, folder, overrides, required)


def build(
    *,
    model: Any,
    data: Any,
    deepspeed: Any = None,
    training: Any = None,
    cluster: Mapping[str, Any] | None = None,
    plan: Mapping[str, Any] | None = None,
) -> LoadedSpec:
    """A spec from Python objects: the arguments of `hotfire.check()`.

    Args:
        model: A folder, a hub id, or a mapping of `ModelSpec`.
        data: A path, rows (any iterable of dicts, a `datasets.Dataset` too; the first 2000 are taken), or a
            mapping of `DataSpec`.
        deepspeed: A path or the config as a dict; default: what the `TrainingArguments` object names.
        training: A dict, a `TrainingArguments` object, or a path to a file of arguments.
        cluster: A mapping of `ClusterSpec`.
        plan: A mapping of `PlanSpec`.

    Raises:
        SpecError: With every violation.
    """
    if deepspeed is None:
        deepspeed = getattr(training, "deepspeed", None)
    if isinstance(data, Iterable) and not isinstance(data, str | bytes | os.PathLike | Mapping):
        data = [row for row, _ in zip(data, range(MAX_ROWS), strict=False)]
    given = {
        "model": model,
        "data": data,
        "deepspeed": deepspeed,
        "training": training,
        "cluster": cluster,
        "plan": plan,
    }
    return load(
        {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in given.items() if v is not None}
    )


def find_file(source: str | os.PathLike[str]) -> Path:
    """The spec file that a path means.

    Raises:
        SpecError: There is none.
    """
    path = Path(source).expanduser().absolute()
    if path.is_dir():
        for name in FILE_NAMES:
            if (path / name).is_file():
                return path / name
        raise SpecError(f"the folder {path} holds no {' or '.join(FILE_NAMES[:2])}")
    if not path.is_file():
        raise SpecError(f"there is no file {path}")
    return path


def looks_like_spec(document: Any) -> bool:
    """Whether a parsed file is a spec rather than a DeepSpeed config: `lint` takes both."""
    if not isinstance(document, Mapping):
        return False
    return "deepspeed" in document or (
        "model" in document and bool(document.keys() & {"data", "training", "cluster", "plan"})
    )


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SpecError(f"{path} is not UTF-8 text") from None
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror or error}") from None


def _build(
    document: Document, path: Path | None, base: Path, overrides: Iterable[str], required: Iterable[str]
) -> LoadedSpec:
    name = str(path) if path is not None else "the spec"
    if document.problems and document.data is None:
        raise _error(name, document.problems)
    if not isinstance(document.data, Mapping):
        raise SpecError(f"{name}: must be a mapping with the keys {', '.join(REQUIRED)}, ...")
    violations = list(document.problems)
    data = dict(document.data)
    adapted = expand(data, base)
    for override in overrides:
        violations += _override(data, override, base)
    # An option may name the file, too.
    adapted = expand(data, base) or adapted
    violations += [
        Violation(field=key, description="is required") for key in required if data.get(key) is None
    ]
    normalised = normalise({k: v for k, v in data.items() if v is not None}, base)
    violations += normalised.violations
    spec = _message(normalised, violations)
    if violations:
        raise _error(name, [_placed(v, document, data) for v in violations])
    return LoadedSpec(
        spec=spec,
        rows=normalised.rows,
        path=path,
        base=base,
        model_path=normalised.model_path,
        model_is_local=normalised.model_is_local,
        data_path=normalised.data_path,
        deepspeed_path=normalised.deepspeed_path,
        training_path=normalised.training_path,
        adapted=adapted,
    )


def _message(normalised: Normalised, violations: list[Violation]) -> spec_pb2.PreflightSpec:
    clean = {k: v for k, v in normalised.document.items() if v is not None}
    try:
        return wire.message_from_dict(clean, spec_pb2.PreflightSpec)
    except wire.WireError as error:
        violations += [Violation(field=field, description=text) for field, text in error.violations]
        return spec_pb2.PreflightSpec()


def _placed(violation: Violation, document: Document, data: Mapping[str, Any]) -> Violation:
    """The violation with its line and the value that stands there."""
    line, column = violation.line, violation.column
    field = violation.field
    while line is None and field:
        line, column = document.positions.get(field, (None, None))
        # The nearest key above, where the exact one is not in the file (a map's entry, a missing key).
        field = field.rpartition("[" if field.endswith("]") else ".")[0]
    return dataclasses.replace(
        violation, line=line, column=column, value=violation.value or _shown(data, violation)
    )


def _shown(data: Any, violation: Violation) -> str | None:
    for part in violation.field.replace("[", ".[").split("."):
        if part.startswith("[") and isinstance(data, list) and part[1:-1].isdigit():
            data = data[int(part[1:-1])] if int(part[1:-1]) < len(data) else None
        elif isinstance(data, Mapping):
            data = data.get(part)
        else:
            return None
    if data is None or isinstance(data, Mapping | list):
        return None
    # A row's text does not belong into an error.
    if violation.field.startswith("data.rows"):
        return None
    try:
        text = json.dumps(data, ensure_ascii=False)
    except TypeError:
        return None
    return text if len(text) <= 60 and ", got " not in violation.description else None


def _error(name: str, violations: list[Violation]) -> SpecError:
    violations = sorted(violations, key=lambda v: (v.line is None, v.line or 0))
    count = "one problem" if len(violations) == 1 else f"{len(violations)} problems"
    return SpecError(f"{name}: {count}", violations=violations)


def _override(data: dict[str, Any], override: str, base: Path) -> list[Violation]:
    """Applies one PATH=VALUE; PATH is dotted, or a JSON pointer."""
    path, equals, text = override.partition("=")
    keys = path[1:].split("/") if path.startswith("/") else path.split(".")
    if not equals or not all(keys):
        return [
            Violation(field=path, description=f"--set {override}: write PATH=VALUE, as training.max_steps=10")
        ]
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    if keys[0] == "deepspeed" and len(keys) > 1:
        inlined = _inline_deepspeed(data.get("deepspeed"), base)
        if isinstance(inlined, Violation):
            return [inlined]
        data["deepspeed"] = inlined
    node = data
    for i, key in enumerate(keys[:-1]):
        inner = node.get(key)
        if i == 0 and key in ("model", "data") and isinstance(inner, str):
            # "model: ./m" plus --set model.init=random: keep what the short form means.
            (source,) = normalise({key: inner}, base).document[key]
            inner = {source: inner}
        if inner is not None and not isinstance(inner, Mapping):
            return [Violation(field=path, description=f"--set {override}: {key} is not a mapping")]
        node[key] = dict(inner or {})
        node = node[key]
    node[keys[-1]] = value
    return []


def _inline_deepspeed(value: Any, base: Path) -> dict[str, Any] | Violation:
    """The DeepSpeed config as a mapping, so that a key of it can be set."""
    if isinstance(value, Mapping):
        if value.keys() == {"config"} and isinstance(value["config"], Mapping):
            return dict(value["config"])
        if value.keys() != {"config_json"}:
            return dict(value)
        text = value["config_json"]
    elif isinstance(value, str):
        try:
            text = local_path(value, base).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            return Violation(field="deepspeed", description=f"cannot read {value}: {error}")
    else:
        return {}
    from hotfire.dsconfig import positions

    config = positions.read_config(text)
    if config.given is None:
        return Violation(
            field="deepspeed", description="--set needs a config that can be read; this one cannot"
        )
    return config.given

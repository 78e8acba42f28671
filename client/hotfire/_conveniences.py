"""What a spec file may say more shortly than the wire: durations, sizes, strings for model and data.

Everything here turns the file's form into the wire's JSON form and collects what is wrong; nothing raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotfire._document import read_document
from hotfire._training import (
    is_arguments_object,
    plain,
    split_arguments,
    training_arguments,
    unsendable,
)
from hotfire.errors import MissingExtraError, Violation

_SIZE = {"": 1, "B": 1} | {
    f"{prefix}{unit}": base**power
    for power, prefix in enumerate("KMGTP", start=1)
    for unit, base in (("B", 1000), ("iB", 1024))
}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_SIZES = ("gpu_memory_bytes", "host_memory_bytes")
_DURATIONS = ("time_budget", "queue_timeout")


@dataclass(slots=True)
class Normalised:
    """A spec in the wire's form, and the local files behind it."""

    document: dict[str, Any] = field(default_factory=dict)
    """As `wire.message_from_dict` takes it, without rows."""
    violations: list[Violation] = field(default_factory=list)
    rows: list[dict[str, Any]] | None = None
    model_path: Path | None = None
    """A folder (or GGUF file) on this machine that the job's model lies in."""
    model_is_local: bool = False
    """False: the spec gave an absolute `path`, which is as the worker sees it."""
    data_path: Path | None = None
    """A data file on this machine."""
    deepspeed_path: Path | None = None
    training_path: Path | None = None


def duration(value: Any) -> str | None:
    """300, "300", "300s", "5m", "1h30m" as the wire's "300s"; None if it is none of these."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return f"{value:.9f}".rstrip("0").rstrip(".") + "s" if 0 <= value < 1e10 else None
    if not isinstance(value, str):
        return None
    text = value.strip().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return duration(float(text))
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|min|m|h|d))+", text):
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|min|m|h|d)", text)
    return duration(sum(float(number) * _SECONDS[unit] for number, unit in parts))


def size(value: Any) -> int | None:
    """80000000, "80GiB", "80 GB", "1.5TiB" in bytes; None if it is none of these."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    match = (
        re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGTP]?i?B|)\s*", value) if isinstance(value, str) else None
    )
    if match is None:
        return None
    unit = match[2].replace("k", "K")
    return round(float(match[1]) * _SIZE[unit]) if unit in _SIZE else None


def normalise(document: Mapping[str, Any], base: Path) -> Normalised:
    """Applies every convenience.

    Args:
        document: The spec as written.
        base: The folder that relative paths start from.
    """
    result = Normalised()
    for name, value in document.items():
        match name:
            case "model":
                result.document[name] = _model(value, base, result)
            case "data":
                result.document[name] = _data(value, base, result)
            case "deepspeed":
                result.document[name] = _deepspeed(value, base, result)
            case "training":
                result.document[name] = _training(value, base, result)
            case "cluster":
                result.document[name] = _units(value, name, _SIZES, size, "a size such as 80GiB", result)
            case "plan":
                wanted = "a duration such as 300, 300s, 5m"
                result.document[name] = _units(value, name, _DURATIONS, duration, wanted, result)
            case _:
                result.document[name] = value
    return result


def local_path(text: str, base: Path) -> Path:
    """A path as the spec writes it, absolute."""
    path = Path(text).expanduser()
    return path if path.is_absolute() else (base / path).resolve()


def _model(value: Any, base: Path, result: Normalised) -> Any:
    if isinstance(value, str):
        if _SCHEME.match(value):
            return {"uri": value}
        if not (value.startswith((".", "/", "~")) or (base / value).exists()):
            return {"hub_id": value}
        value = {"path": value}
        as_written = True
    elif isinstance(value, Mapping):
        value, as_written = dict(value), False
        uri = value.get("uri")
        if isinstance(uri, str) and not _SCHEME.match(uri) and "path" not in value:
            value["path"] = value.pop("uri")
    else:
        result.violations.append(Violation(field="model", description="must be text or a mapping"))
        return None
    text = value.get("path")
    if not isinstance(text, str):
        return value
    path = local_path(text, base)
    result.model_is_local = as_written or not Path(text).expanduser().is_absolute()
    if path.exists():
        result.model_path = path
    elif result.model_is_local and not text.startswith("/"):
        result.violations.append(Violation(field="model", description=f"there is no folder {path}"))
    else:
        # Only the workers see it; whether it is there is their finding.
        result.model_is_local = False
    value["path"] = str(path)
    return value


def _data(value: Any, base: Path, result: Normalised) -> Any:
    if isinstance(value, str):
        value = {"uri": value}
    elif isinstance(value, list):
        value = {"rows": value}
    elif isinstance(value, Mapping):
        value = dict(value)
    else:
        result.violations.append(
            Violation(field="data", description="must be a path, a list of rows or a mapping")
        )
        return None
    if "rows" in value:
        if value.keys() & {"artifact", "uri", "hub_id"}:
            result.violations.append(
                Violation(field="data", description="give only one of rows, artifact, uri, hub_id")
            )
        result.rows = _rows(value.pop("rows"), result)
    uri = value.get("uri")
    if isinstance(uri, str) and not _SCHEME.match(uri):
        path = local_path(uri, base)
        if path.is_file() or path.is_dir():
            result.data_path = path
        else:
            what = "is neither a file nor a folder" if path.exists() else "does not exist"
            result.violations.append(
                Violation(
                    field="data",
                    description=f"{path} {what}; for a file that only the workers see, write uri: file:///path",
                )
            )
        value["uri"] = f"file://{path}"
    return value


def _rows(rows: Any, result: Normalised) -> list[dict[str, Any]]:
    if not isinstance(rows, list | tuple):
        result.violations.append(Violation(field="data.rows", description="must be a list of rows"))
        return []
    good: list[dict[str, Any]] = []
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            result.violations.append(
                Violation(field=f"data.rows[{i}]", description=f"must be an object, got {type(row).__name__}")
            )
            continue
        clean = plain(row)
        result.violations += unsendable(clean, f"data.rows[{i}]")
        good.append(clean)
    return good


def _deepspeed(value: Any, base: Path, result: Normalised) -> Any:
    if isinstance(value, str):
        path = local_path(value, base)
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            result.violations.append(Violation(field="deepspeed", description=f"{path} is not UTF-8 text"))
            return {}
        except OSError as error:
            result.violations.append(
                Violation(field="deepspeed", description=f"cannot read {path}: {error.strerror or error}")
            )
            return {}
        result.deepspeed_path = path
        return {"config_json": text}
    if not isinstance(value, Mapping):
        result.violations.append(
            Violation(field="deepspeed", description="must be a path or the DeepSpeed config as a mapping")
        )
        return {}
    if value.keys() == {"config_json"} and isinstance(value["config_json"], str):
        return dict(value)
    config = value["config"] if value.keys() == {"config"} else value
    if not isinstance(config, Mapping):
        result.violations.append(Violation(field="deepspeed.config", description="must be a mapping"))
        return {}
    config = plain(config)
    if bad := unsendable(config, "deepspeed"):
        result.violations += bad
        return {}
    return {"config_json": json.dumps(config, indent=2, ensure_ascii=False)}


def _training(value: Any, base: Path, result: Normalised) -> Any:
    if is_arguments_object(value):
        value = training_arguments(value)
    if isinstance(value, str | Path):
        value = _training_file(local_path(str(value), base), result)
    if not isinstance(value, Mapping):
        result.violations.append(
            Violation(
                field="training",
                description="must be a mapping, a TrainingArguments object or a path to a file of arguments",
            )
        )
        return {}
    value = plain(value)
    result.violations += unsendable(value, "training")
    return split_arguments(value)


def _training_file(path: Path, result: Normalised) -> Any:
    try:
        document = read_document(path.read_text(encoding="utf-8"), path=path)
    except (OSError, UnicodeDecodeError) as error:
        result.violations.append(Violation(field="training", description=f"cannot read {path}: {error}"))
        return {}
    except MissingExtraError as error:
        result.violations.append(Violation(field="training", description=f"{path}: {error.message}"))
        return {}
    result.training_path = path
    result.violations += [
        Violation(field="training", description=f"{path}: {problem}") for problem in document.problems
    ]
    return document.data if document.data is not None else {}


def _units(
    section: Any, name: str, keys: tuple[str, ...], convert: Any, wanted: str, result: Normalised
) -> Any:
    if not isinstance(section, Mapping):
        return section  # reading the message says what is wrong
    section = {k: plain(v) for k, v in section.items()}
    for key in keys:
        if section.get(key) is None:
            continue
        converted = convert(section[key])
        if converted is None:
            result.violations.append(
                Violation(field=f"{name}.{key}", description=f"must be {wanted}, got {section[key]!r}")
            )
            del section[key]
        else:
            section[key] = converted
    return section

"""A sample that is a folder: what `datasets.save_to_disk` wrote, the shards of one split, or a single file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hotfire_workers.train.data.stream import REMEDY, SampleError

_KINDS = ("parquet", "arrow", "jsonl", "ndjson", "json", "csv", "tsv")
_COMPRESSED = (".gz", ".zst", ".zstd")
_SHARD = re.compile(r"[-_.](?:part[-_]?)?\d{3,}(?:[-_]of[-_]\d+)?(?=[-_.]|$)|^part[-_]\d+")
_SPLITS = re.compile(r"(?:^|[-_./])(train|test|validation|valid|val|dev|eval)(?=$|[-_./])")
_MAX_FILES = 10_000


def files_of(path: Path, notes: list[str]) -> list[Path]:
    """The files that hold the rows, in their order.

    Args:
        path: A file or a folder.
        notes: What was chosen is added.

    Raises:
        SampleError: There is none, or it cannot be told which one is meant.
    """
    if not path.exists():
        raise SampleError(
            f"The sample {path.name!r} does not exist on this worker. Check data.uri or upload the file."
        )
    if not path.is_dir():
        return [path]
    if (path / "dataset_dict.json").is_file():
        splits = _json(path / "dataset_dict.json").get("splits")
        names = [name for name in splits if _is_plain(name)] if isinstance(splits, list) else []
        split = "train" if "train" in names else names[0] if len(names) == 1 else None
        if split is None:
            listed = ", ".join(names) or "none"
            raise SampleError(f"The dataset folder has the splits {listed}. Name one: data.uri .../SPLIT.")
        if len(names) > 1:
            notes.append(f"of the splits {', '.join(names)} the rows of {split!r} are taken")
        return _saved(path / split)
    if (path / "state.json").is_file():
        return _saved(path)
    return _loose(path, notes)


def _saved(folder: Path) -> list[Path]:
    """The files that the `state.json` of a saved dataset names."""
    listed = _json(folder / "state.json").get("_data_files")
    names = [f.get("filename") for f in listed if isinstance(f, dict)] if isinstance(listed, list) else []
    if not names or not all(_is_plain(name) for name in names):
        raise SampleError(
            f"{folder.name}/state.json names no data files. Write the dataset again with save_to_disk."
        )
    files = [folder / str(name) for name in names]
    if missing := [file.name for file in files if not file.is_file()]:
        raise SampleError(
            f"{len(missing)} of {len(files)} files of the dataset are missing ({missing[0]}). Copy it again."
        )
    return files


def _loose(folder: Path, notes: list[str]) -> list[Path]:
    """Files that lie about: one, or shards of one kind."""
    found: list[Path] = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file() and _kind(path) is not None:
            found.append(path)
        if len(found) > _MAX_FILES:
            raise SampleError(f"The folder holds more than {_MAX_FILES} files. Name one file in data.uri.")
    if any(_kind(path) not in (None, "json") for path in found):  # beside rows, .json files describe them
        found = [path for path in found if _kind(path) != "json"]
    splits = {path: _split(path.relative_to(folder)) for path in found}
    if "train" in splits.values() and len(set(splits.values())) > 1:
        notes.append(f"of {len(found)} files those of the split 'train' are taken")
        found = [path for path in found if splits[path] == "train"]
    kinds = {_kind(path) for path in found}
    if len(found) == 1 or (len(kinds) == 1 and found and all(_SHARD.search(p.name) for p in found)):
        return found
    what = f"holds {len(found)} files with rows" if found else "holds no file with rows"
    raise SampleError(f"The sample is a folder that {what}. Name one file in data.uri. {REMEDY}")


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    return next((kind for kind in _KINDS if name.endswith(f".{kind}")), None)


def _split(path: Path) -> str | None:
    found = _SPLITS.search(path.as_posix())
    return found.group(1) if found else None


def _is_plain(name: Any) -> bool:
    return isinstance(name, str) and bool(name) and Path(name).name == name


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SampleError(
            f"{path.parent.name}/{path.name} of the dataset folder is no valid JSON."
        ) from error
    return value if isinstance(value, dict) else {}

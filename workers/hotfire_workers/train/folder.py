"""What lies in a model folder: config, weights, code; looked at without loading anything."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from hotfire_workers.train.errors import BlockedModelError, UnreadableModelError, one_line

_LFS = b"version https://git-lfs.github.com/spec/"
_PICKLE = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_NOT_WEIGHTS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt")
_TOKENIZER = (
    "tokenizer*.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "tekken.json",
    "tokenization_*.py",
)


@dataclass(kw_only=True)
class ModelFolder:
    """A model folder, or a folder with a GGUF file in it.

    Attributes:
        path: The folder.
        gguf: Name of the GGUF file in it, if that is the model.
        config: Its config.json (of a GGUF file: what transformers makes of its header).
        trust_remote_code: Code of this folder is asked for, needed and allowed.
    """

    path: Path
    gguf: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    trust_remote_code: bool = False

    @property
    def name(self) -> str:
        """For messages."""
        return self.gguf or self.path.name or str(self.path)

    @property
    def location(self) -> str:
        """First argument of `from_pretrained`."""
        return str(self.path)

    def load_arguments(self) -> dict[str, Any]:
        """Arguments of every `from_pretrained`: nothing from the network, code only where allowed."""
        arguments: dict[str, Any] = {"local_files_only": True, "trust_remote_code": self.trust_remote_code}
        if self.gguf:
            arguments["gguf_file"] = self.gguf
        return arguments

    @cached_property
    def generation_config(self) -> dict[str, Any]:
        """Its generation_config.json; empty if there is none that can be read."""
        with contextlib.suppress(OSError, ValueError):
            value = json.loads((self.path / "generation_config.json").read_text(encoding="utf-8"))
            return value if isinstance(value, dict) else {}
        return {}

    @cached_property
    def pickle_files(self) -> list[str]:
        """Weights that only unpickling can read."""
        found = {p.name for pattern in _PICKLE for p in self.path.glob(pattern) if p.is_file()}
        return sorted(found - set(_NOT_WEIGHTS))

    @cached_property
    def safetensors_files(self) -> list[str]:
        """Weight files, as the index names them or as they lie there.

        Raises:
            UnreadableModelError: The index cannot be read.
        """
        index = self.path / "model.safetensors.index.json"
        if index.is_file():
            weight_map = read_json(index).get("weight_map")
            if not isinstance(weight_map, dict) or not weight_map:
                raise UnreadableModelError(f"{index.name} has no weight_map. Copy the model folder again.")
            names = sorted({str(name) for name in weight_map.values()})
            if outside := [name for name in names if Path(name).name != name]:
                raise UnreadableModelError(
                    f"{index.name} names files outside of the folder: {outside[0][:80]}."
                )
            return names
        if (self.path / "model.safetensors").is_file():
            return ["model.safetensors"]
        return []

    @cached_property
    def weights_format(self) -> str:
        """One of "safetensors", "gguf", "pickle", "none"."""
        if self.gguf:
            return "gguf"
        return "safetensors" if self.safetensors_files else "pickle" if self.pickle_files else "none"

    @property
    def weights_bytes(self) -> int | None:
        """Size of the weight files that are there; None without weights."""
        by_format = {
            "safetensors": self.safetensors_files,
            "pickle": self.pickle_files,
            "gguf": [self.gguf] if self.gguf else [],
        }
        files = [self.path / name for name in by_format.get(self.weights_format, [])]
        return sum(f.stat().st_size for f in files if f.is_file()) or None

    def check_tokenizer_files(self) -> None:
        """Raises `UnreadableModelError` where no tokenizer is in the folder, or a Git LFS pointer."""
        if self.gguf:
            return
        found = [p for pattern in _TOKENIZER for p in self.path.glob(pattern) if p.is_file()]
        if not found:
            raise UnreadableModelError(
                f"{self.name} has no tokenizer: neither tokenizer.json nor tokenizer_config.json is there. "
                "Copy the tokenizer's files of this model into the folder."
            )
        for path in found:
            refuse_pointer(path)

    @contextlib.contextmanager
    def quick_gguf(self) -> Iterator[None]:
        """Lets transformers parse a GGUF header once instead of four times (4 s each for 49,000 tokens)."""
        if not self.gguf:
            yield
            return
        import gguf

        reader, names = gguf.GGUFReader, gguf.get_tensor_name_map
        gguf.GGUFReader, gguf.get_tensor_name_map = _shared_reader, lru_cache(names)
        _shared_reader.make = reader
        try:
            yield
        finally:
            gguf.GGUFReader, gguf.get_tensor_name_map = reader, names


class _SharedReader:
    """Stands in for `gguf.GGUFReader`: one reader per file, as reading changes nothing in it."""

    def __init__(self) -> None:
        self.make: Any = None
        self._readers: dict[tuple[str, int], Any] = {}

    def __call__(self, path: str, *args: Any) -> Any:
        key = (str(path), Path(path).stat().st_mtime_ns)
        if key not in self._readers:
            self._readers[key] = self.make(path, *args)
        return self._readers[key]


_shared_reader = _SharedReader()


def open_folder(
    model: dict[str, Any], *, allow_remote_code: bool = False, allow_hub: bool = False
) -> ModelFolder:
    """Finds the model's folder and reads its config.

    Args:
        model: {"path" or "hub_id", "revision", "trust_remote_code"} as in `PrepareRequest.model`.
        allow_remote_code: Whether code that lies in the folder may run here.
        allow_hub: Whether a `hub_id` may be downloaded.

    Raises:
        UnreadableModelError: Missing, half there, or of an architecture that transformers does not know.
        BlockedModelError: It needs code of its own, and that is not allowed here.
    """
    try:
        return _open_folder(model, allow_remote_code=allow_remote_code, allow_hub=allow_hub)
    except PermissionError as error:
        raise UnreadableModelError(
            f"model.path {model.get('path')} cannot be opened: {error.strerror}. Make it readable for "
            "the user that the worker runs as."
        ) from error


def _open_folder(model: dict[str, Any], *, allow_remote_code: bool, allow_hub: bool) -> ModelFolder:
    path = _local_path(model, allow_hub)
    gguf = None
    if path.is_file():
        if path.suffix != ".gguf":
            raise UnreadableModelError(
                f"model.path {path.name} is a file. Give the model's folder, or a .gguf file."
            )
        path, gguf = path.parent, path.name
    elif not (path / "config.json").is_file():
        files = sorted(p.name for p in path.glob("*.gguf"))
        if len(files) != 1:
            several = f" It has {len(files)} .gguf files: give the path of one of them." if files else ""
            raise UnreadableModelError(
                f"The folder {path.name} has no config.json.{several} Give a folder written by "
                "save_pretrained."
            )
        gguf = files[0]
    folder = ModelFolder(path=path, gguf=gguf)
    folder.config = _gguf_config(folder) if gguf else read_json(path / "config.json")
    folder.trust_remote_code = _may_run_code(folder, model, allow_remote_code)
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object of the folder.

    Raises:
        UnreadableModelError: It is not there, not JSON, or a Git LFS pointer.
    """
    try:
        refuse_pointer(path)
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableModelError(f"{path.name} cannot be opened: {error.strerror}.") from error
    except UnreadableModelError:
        raise
    except ValueError as error:
        raise UnreadableModelError(
            f"{path.name} is not valid JSON ({one_line(error)}). Copy the folder again."
        ) from error
    if not isinstance(value, dict):
        raise UnreadableModelError(f"{path.name} does not hold a JSON object. Copy the folder again.")
    return value


def refuse_pointer(path: Path) -> None:
    """Raises `UnreadableModelError` where a Git LFS pointer lies in place of the file."""
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise UnreadableModelError(
                f"{path.name} is a Git LFS pointer, not the file itself. Run `git lfs pull` in the folder."
            )


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """No progress bars and no warnings of transformers: what matters is in the evidence."""
    from transformers.utils import logging as hf_logging

    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.CRITICAL)
    hf_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


def _local_path(model: dict[str, Any], allow_hub: bool) -> Path:
    if model.get("path"):
        path = Path(model["path"])
        if not path.exists():
            raise UnreadableModelError(
                f"model.path {model['path']} does not exist on this worker. Check the path as the worker "
                "sees it, or upload the folder."
            )
        return path
    hub_id = model.get("hub_id")
    if not hub_id:
        raise UnreadableModelError(
            "No model was given. Set model.path, model.artifact, model.uri or model.hub_id."
        )
    return _from_hub(hub_id, model.get("revision"), allow_hub)


def _from_hub(hub_id: str, revision: str | None, allow_hub: bool) -> Path:
    """The snapshot of a hub model: what the local cache has, else a download where that is allowed."""
    from huggingface_hub import snapshot_download

    where = f"{hub_id}, revision {revision}" if revision else hub_id
    arguments: dict[str, Any] = {"revision": revision, "ignore_patterns": list(_PICKLE)}
    try:
        return Path(snapshot_download(hub_id, local_files_only=True, **arguments))
    except (ValueError, OSError) as error:  # not in the cache (LocalEntryNotFoundError), or no such name
        if not allow_hub:
            raise UnreadableModelError(
                f"{where} is not in this worker's local cache, and hub access is off here, so it cannot be "
                "fetched. Give model.path, or a worker with hub access."
            ) from error
    try:
        return Path(snapshot_download(hub_id, **arguments))
    except Exception as error:
        raise UnreadableModelError(f"{where} cannot be fetched from the hub: {_hub_words(error)}") from error


def _hub_words(error: Exception) -> str:
    """What went wrong at the hub, with the remedy. Its own words are long and full of addresses."""
    words = {
        "RepositoryNotFoundError": "there is no such model, or it is private. Check the name.",
        "GatedRepoError": "it is gated. Accept its terms and give the worker a token (HF_TOKEN).",
        "RevisionNotFoundError": "it has no such revision. Check model.revision.",
        "HFValidationError": "that is no name of a hub model. It is like owner/name.",
        "LocalEntryNotFoundError": "the hub cannot be reached. Check the network, or give model.path.",
        "OfflineModeIsEnabled": "the hub is switched off here (HF_HUB_OFFLINE). Give model.path.",
    }
    return words.get(type(error).__name__, f"{one_line(error).rstrip('.')}. Or give model.path.")


def _gguf_config(folder: ModelFolder) -> dict[str, Any]:
    from transformers import AutoConfig

    with (folder.path / str(folder.gguf)).open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UnreadableModelError(f"{folder.gguf} is not a GGUF file. Copy it again.")
    try:
        with quiet_libraries(), folder.quick_gguf():
            config = AutoConfig.from_pretrained(folder.location, gguf_file=folder.gguf, local_files_only=True)
    except Exception as error:
        raise UnreadableModelError(
            f"{folder.gguf} cannot be read: {one_line(error)}. Copy it again."
        ) from error
    return config.to_dict()


def _may_run_code(folder: ModelFolder, model: dict[str, Any], allow_remote_code: bool) -> bool:
    """Whether code of the folder is to run. Refused where it is asked for or needed, and not allowed."""
    from transformers import CONFIG_MAPPING

    asked = bool(model.get("trust_remote_code"))
    brings_code = bool(folder.config.get("auto_map")) or _tokenizer_brings_code(folder)
    if not brings_code:
        return False
    is_known = folder.config.get("model_type") in CONFIG_MAPPING
    if asked and allow_remote_code:
        return True
    if asked:
        raise BlockedModelError(
            "remote-code",
            f"{folder.name} is to run its own code, which this worker does not allow.",
            config=folder.config,
        )
    if not is_known:
        raise BlockedModelError(
            "remote-code",
            f"{folder.name} (model_type {folder.config.get('model_type')!r}) needs its own code: "
            "transformers does not know it. Set model.trust_remote_code, on a worker that allows it.",
            config=folder.config,
        )
    return False


def _tokenizer_brings_code(folder: ModelFolder) -> bool:
    with contextlib.suppress(OSError, ValueError):
        config = json.loads((folder.path / "tokenizer_config.json").read_text(encoding="utf-8"))
        return isinstance(config, dict) and bool(config.get("auto_map"))
    return False

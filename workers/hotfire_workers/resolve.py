"""Where model and data come from: local paths under the allowed roots, artifacts, fsspec addresses, the hub.

Everything ends as a local path (or a hub id that the preparation fetches). Nothing outside the run directory is
written.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec.core

from hotfire import wire
from hotfire.v1 import spec_pb2
from hotfire_service.store import ArtifactStore
from hotfire_workers.settings import WorkerSettings

_CHUNK_BYTES = 1 << 20
_MAX_FILES = 10_000
#: Of a dataset on the hub: the first files of a split, up to so much.
_MAX_HUB_BYTES = 2 << 30
_KINDS = (".jsonl", ".json", ".ndjson", ".parquet", ".csv", ".tsv", ".arrow")
#: fsspec has no annotations.
_url_to_fs: Any = fsspec.core.url_to_fs


class NotAllowedError(Exception):
    """This worker may not, or cannot, open what the spec names. No fault of the job: it is not exercised here."""


@dataclass(kw_only=True, slots=True)
class Resolver:
    """Fetches what a spec names, once.

    Attributes:
        run_dir: What is fetched or unpacked lies below it.
        settings: What is allowed.
        artifacts: Where uploads lie; None: there are none (a local run).
        tenant: Whose artifacts.
    """

    run_dir: Path
    settings: WorkerSettings
    artifacts: ArtifactStore | None = None
    tenant: str = "default"
    _fetched: dict[str, Path] = field(default_factory=dict)

    def model(self, model: spec_pb2.ModelSpec) -> dict[str, Any]:
        """The `model` of a PrepareRequest.

        Raises:
            NotAllowedError: Outside the roots, a scheme or the hub is not allowed, or it cannot be fetched.
            ArtifactError: The artifact is gone or broken.
        """
        values: dict[str, Any] = {
            "init": spec_pb2.Init.Name(model.init).removeprefix("INIT_")
            if model.HasField("init")
            else "PRETRAINED",
            "num_layers": model.num_layers if model.HasField("num_layers") else None,
            "trust_remote_code": model.trust_remote_code,
        }
        match model.WhichOneof("source"):
            case "path":
                values["path"] = str(self._allowed(model.path, "model.path"))
            case "uri":
                values["path"] = str(self._uri(model.uri, "model.uri", is_folder=True))
            case "artifact":
                values["path"] = str(self._artifact(model.artifact, is_model=True))
            case "hub_id":
                self._check_hub("model.hub_id", model.hub_id)
                values["hub_id"] = model.hub_id
                values["revision"] = model.revision if model.HasField("revision") else None
        return values

    def data(self, data: spec_pb2.DataSpec) -> dict[str, Any]:
        """The `data` of a PrepareRequest. Raises as `model`."""
        values: dict[str, Any] = {
            "format": spec_pb2.Format.Name(data.format).removeprefix("FORMAT_") if data.format else "AUTO",
            "role_mapping": dict(data.role_mapping),
            "columns": dict(data.columns),
            "redact": data.redact or self.settings.redact,
        }
        if data.rows:
            values["path"] = str(self._inline(data))
        elif data.HasField("artifact"):
            values["path"] = str(self._artifact(data.artifact, is_model=False))
        elif data.HasField("uri"):
            values["path"] = str(self._uri(data.uri, "data.uri", is_folder=False))
        elif data.HasField("hub_id"):
            self._check_hub("data.hub_id", data.hub_id)
            values["path"] = str(self._hub_data(data))
        return values

    def _inline(self, data: spec_pb2.DataSpec) -> Path:
        path = self.run_dir / "rows.jsonl"
        if not path.exists():
            lines = (json.dumps(wire.struct_to_dict(row), ensure_ascii=False) for row in data.rows)
            path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    def _allowed(self, value: str, name: str) -> Path:
        """A path below one of the roots, with links followed: what a link points to must be below one too."""
        real = Path(os.path.realpath(value))
        roots = [Path(os.path.realpath(root)) for root in self.settings.allowed_roots]
        if not any(real.is_relative_to(root) for root in roots):
            allowed = ", ".join(map(str, self.settings.allowed_roots)) or "none"
            raise NotAllowedError(
                f"{name} {value} is outside of the folders that this worker may read ({allowed}): see "
                "HOTFIRE_WORKER_ALLOWED_ROOTS"
            )
        return real

    def _check_links(self, folder: Path, name: str) -> None:
        """No link in a folder of data may lead out of the roots."""
        if folder.is_dir():
            for number, path in enumerate(folder.rglob("*")):
                if number > _MAX_FILES:
                    raise NotAllowedError(
                        f"{name} {folder} holds more than {_MAX_FILES} files; name one of them"
                    )
                if path.is_symlink():
                    self._allowed(str(path), name)

    def _uri(self, value: str, name: str, *, is_folder: bool) -> Path:
        parts = urlsplit(value)
        if parts.scheme not in self.settings.allowed_uri_schemes:
            raise NotAllowedError(
                f"{name}: the scheme {parts.scheme!r} is not allowed on this worker: see "
                "HOTFIRE_WORKER_ALLOWED_URI_SCHEMES"
            )
        if parts.scheme == "file":
            path = self._allowed(unquote(parts.path), name)
            if not is_folder:
                self._check_links(path, name)
            return path
        if value not in self._fetched:
            self._fetched[value] = self._download(value, name, is_folder=is_folder)
        return self._fetched[value]

    def _download(self, value: str, name: str, *, is_folder: bool) -> Path:
        target = self.run_dir / f"{name.partition('.')[0]}-fetched"
        try:
            filesystem, root = _url_to_fs(value)
            if filesystem.isfile(root) or not (is_folder or filesystem.isdir(root)):
                target = target / Path(root).name
                files = {root: target}
            else:
                found = filesystem.find(root, detail=True)
                files = {path: target / os.path.relpath(path, root) for path in found}
            left = self.settings.max_fetch_bytes
            for source, path in files.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                left -= _copy(filesystem, source, path, left, name)
        except NotAllowedError:
            raise
        except Exception as error:
            raise NotAllowedError(
                f"{name} cannot be fetched by this worker ({type(error).__name__}): check the address and the "
                "worker's access to it"
            ) from error
        return target

    def _artifact(self, name: str, *, is_model: bool) -> Path:
        if self.artifacts is None:
            raise NotAllowedError(f"{name}: a local run has no artifacts; give a path")
        key = f"{name}:{is_model}"
        if key not in self._fetched:
            if is_model:
                folder = self.run_dir / "model-unpacked"
                folder.mkdir(exist_ok=True)
                self._fetched[key] = self.artifacts.unpack_model(name, folder, tenant=self.tenant)
            else:
                path = self.artifacts.fetch(name, self.run_dir / "data-fetched", tenant=self.tenant)
                if _is_tar(path):  # a folder, such as datasets.save_to_disk writes
                    folder = self.run_dir / "data-unpacked"
                    path = self.artifacts.unpack_model(name, folder, tenant=self.tenant)
                self._fetched[key] = path
        return self._fetched[key]

    def _check_hub(self, name: str, value: str) -> None:
        if not self.settings.hub_access:
            raise NotAllowedError(
                f"{name} {value}: this worker does not reach the Hugging Face hub (HOTFIRE_WORKER_HUB_ACCESS)"
            )

    def _hub_data(self, data: spec_pb2.DataSpec) -> Path:
        """The files of one split of a dataset repository, or its only file."""
        key = f"hub:{data.hub_id}:{data.split}"
        if key in self._fetched:
            return self._fetched[key]
        root = f"hf://datasets/{data.hub_id}"
        try:
            filesystem, base = _url_to_fs(root)
            names = sorted(p for p in filesystem.find(base) if _kind(p))
        except Exception as error:
            raise NotAllowedError(
                f"data.hub_id {data.hub_id} cannot be read by this worker ({type(error).__name__})"
            ) from error
        split = data.split or "train"
        wanted = [p for p in names if split in Path(p).name or f"/{split}/" in p]
        wanted = wanted or (names if len(names) == 1 else [])
        if len({_kind(p) for p in wanted}) != 1:
            raise NotAllowedError(
                f"data.hub_id {data.hub_id}: {len(wanted)} files fit the split {split!r}; give the file itself "
                "with data.uri or an upload"
            )
        folder = self.run_dir / "data-fetched-hub"
        folder.mkdir(parents=True, exist_ok=True)
        left = min(self.settings.max_fetch_bytes, _MAX_HUB_BYTES)
        for number, name in enumerate(wanted):
            if number and filesystem.size(name) > left:
                break  # a sample is enough
            # Several files of one folder could have one name, and must keep their order.
            target = folder / (f"shard-{number:05d}{_kind(name)}" if len(wanted) > 1 else Path(name).name)
            limit = self.settings.max_fetch_bytes if not number else left
            left -= _copy(filesystem, name, target, limit, "data.hub_id")
        self._fetched[key] = folder if len(wanted) > 1 else folder / Path(wanted[0]).name
        return self._fetched[key]


def _kind(name: str) -> str | None:
    bare = name.removesuffix(".gz").removesuffix(".zst")
    return next((kind for kind in _KINDS if bare.endswith(kind)), None)


def _is_tar(path: Path) -> bool:
    """Rows never look like this: a tar's magic and its name ended by NUL."""
    with path.open("rb") as file:
        head = file.read(512)
    return head[257:262] == b"ustar" and b"\0" in head[:100]


def _copy(filesystem: Any, source: str, target: Path, limit_bytes: int, name: str) -> int:
    """Copies one file; returns its size."""
    size = 0
    with filesystem.open(source, "rb") as file, target.open("wb") as out:
        while chunk := file.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > limit_bytes:
                raise NotAllowedError(
                    f"{name} has more than this worker fetches (HOTFIRE_WORKER_MAX_FETCH_BYTES)"
                )
            out.write(chunk)
    return size

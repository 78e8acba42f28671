"""Uploads: what of a spec lies on this machine, and how it travels.

A model folder becomes an uncompressed tar: relative names in order, no links, no owners, no times, so that
the same folder always has the same sha256 and is sent once. Everything is streamed twice (hash, then send);
nothing is written to disk.
"""

from __future__ import annotations

import enum
import fnmatch
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotfire import wire
from hotfire._shallow import ShallowFile, shallow_index
from hotfire.errors import UploadError
from hotfire.spec import LoadedSpec
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1 import spec_pb2

CHUNK_BYTES = 2**20
_MAX_INLINE_BYTES = 2**20
_SLOWEST_BYTES_PER_S = 500_000
_BLOCK = tarfile.BLOCKSIZE

# What training leaves in a folder, and other frameworks' weights: never part of the model.
_SKIPPED_FOLDERS = ("global_step*", "checkpoint-*", "original", "onnx", "runs", "__pycache__")
_SKIPPED_FILES = ("*.h5", "*.msgpack", "*.onnx", "*.ot", "optimizer.pt", "scheduler.pt", "rng_state*.pth")
_PICKLE_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_WEIGHTS = (*_PICKLE_WEIGHTS, "*.safetensors")


class Upload(enum.StrEnum):
    """When local files are uploaded; AUTO: when the server is on another machine."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(slots=True)
class Payload:
    """One artifact to be: its bytes can be produced as often as needed."""

    kind: int
    filename: str
    size_bytes: int
    chunks: Callable[[], Iterator[bytes]]
    sha256: str = ""

    def hash(self) -> None:
        """Fills in `sha256`; reads everything once."""
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        self.sha256 = digest.hexdigest()

    def requests(self) -> Iterator[service_pb2.UploadArtifactRequest]:
        """The messages of the upload: the header, then chunks of at most 1 MiB."""
        yield service_pb2.UploadArtifactRequest(
            header=service_pb2.ArtifactHeader(
                kind=self.kind,  # type: ignore[arg-type]
                filename=self.filename,
                size_bytes=self.size_bytes,
                sha256=self.sha256,
            )
        )
        for chunk in _rechunk(self.chunks()):
            yield service_pb2.UploadArtifactRequest(chunk=chunk)

    @property
    def timeout_s(self) -> float:
        """A deadline by size."""
        return 60.0 + self.size_bytes / _SLOWEST_BYTES_PER_S


@dataclass(slots=True)
class Placement:
    """A spec on its way to one server: what to upload, and where the artifact's name goes."""

    spec: spec_pb2.PreflightSpec
    uploads: list[tuple[Payload, Callable[[str], None]]] = field(default_factory=list)


def needs_limits(loaded: LoadedSpec, mode: Upload, *, loopback: bool) -> bool:
    """Whether `place` has to know the server's limits."""
    return loaded.rows is not None or _uploads_files(mode, loopback)


def place(loaded: LoadedSpec, mode: Upload, *, loopback: bool, limits: service_pb2.Limits) -> Placement:
    """Decides what of a spec is uploaded and what goes as a path.

    Args:
        loaded: The spec.
        mode: The `--upload` option.
        loopback: Whether the server is on this machine and so sees the same files.
        limits: The server's.

    Raises:
        UploadError: A file is over the limit or cannot be sent; the text lists the choices.
    """
    spec = spec_pb2.PreflightSpec()
    spec.CopyFrom(loaded.spec)
    placement = Placement(spec)
    sends = _uploads_files(mode, loopback)
    if sends and loaded.model_path is not None and (loaded.model_is_local or mode is Upload.ALWAYS):
        payload = model_payload(loaded.model_path, spec.model)
        _check_model(payload, loaded.model_path, limits)
        placement.uploads.append((payload, lambda name: setattr(spec.model, "artifact", name)))
    if sends and loaded.data_path is not None:
        payload = data_payload(loaded.data_path)
        _check_data(payload, loaded.data_path, limits)
        placement.uploads.append((payload, lambda name: setattr(spec.data, "artifact", name)))
        spec.data.ClearField("uri")
    if loaded.rows is not None:
        _place_rows(placement, loaded.rows, mode, limits)
    return placement


def _uploads_files(mode: Upload, loopback: bool) -> bool:
    return mode is Upload.ALWAYS or (mode is Upload.AUTO and not loopback)


def _place_rows(
    placement: Placement, rows: list[dict[str, Any]], mode: Upload, limits: service_pb2.Limits
) -> None:
    payload = rows_payload(rows)
    few = not limits.HasField("max_inline_rows") or len(rows) <= limits.max_inline_rows
    if (few and payload.size_bytes <= _MAX_INLINE_BYTES) or not rows:
        placement.spec.data.rows.extend(wire.dict_to_struct(row) for row in rows)
        return
    if mode is Upload.NEVER:
        raise UploadError(
            f"{len(rows)} rows ({_bytes(payload.size_bytes)}) are too many for one message and uploads "
            "are off (--upload never): give fewer rows, or a file"
        )
    _check_data(payload, None, limits)
    placement.uploads.append((payload, lambda name: setattr(placement.spec.data, "artifact", name)))


# --- Payloads ---------------------------------------------------------------------------------------------


def file_payload(path: Path, kind: int = service_pb2.KIND_DATA) -> Payload:
    """A file as it is."""
    return Payload(kind, path.name, path.stat().st_size, lambda: _file_chunks(path))


def data_payload(path: Path) -> Payload:
    """A data file as it is; a folder (as `datasets.save_to_disk` writes it) as a tar.

    Raises:
        UploadError: The folder holds something that cannot be sent, or nothing.
    """
    if not path.is_dir():
        return file_payload(path)
    files = sorted(_walk(path, skipped=()), key=lambda p: p.relative_to(path).as_posix())
    return _tar_payload(
        path, [_Entry(p.relative_to(path).as_posix(), p) for p in files], service_pb2.KIND_DATA
    )


def rows_payload(rows: list[dict[str, Any]]) -> Payload:
    """Rows as a JSON Lines file."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    return Payload(service_pb2.KIND_DATA, "rows.jsonl", len(text), lambda: iter([text]))


def model_payload(path: Path, model: spec_pb2.ModelSpec) -> Payload:
    """A model folder (or one GGUF file) as a tar, without the weights that the spec does not use.

    Raises:
        UploadError: The folder holds something that cannot be sent, or nothing.
    """
    entries = [_Entry(path.name, path)] if path.is_file() else list(_entries(path, model))
    return _tar_payload(path, entries, service_pb2.KIND_MODEL)


def _tar_payload(path: Path, entries: list[_Entry], kind: int) -> Payload:
    if not entries:
        what = "model" if kind == service_pb2.KIND_MODEL else "data"
        raise UploadError(f"the {what} folder {path} holds no files")
    size = sum(_BLOCK + _padded(entry.size_bytes) for entry in entries)
    total = -(-(size + 2 * _BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
    return Payload(kind, f"{path.name}.tar", total, lambda: _tar_chunks(entries, total - size))


@dataclass(slots=True)
class _Entry:
    """One file of a tar: from disk, rewritten text, or a shallow copy of weights."""

    name: str
    path: Path
    text: bytes | None = None
    shallow: ShallowFile | None = None

    @property
    def size_bytes(self) -> int:
        if self.text is not None:
            return len(self.text)
        return self.shallow.size_bytes if self.shallow is not None else self.path.stat().st_size

    def chunks(self) -> Iterator[bytes]:
        if self.text is not None:
            return iter([self.text])
        if self.shallow is not None:
            return self.shallow.chunks(CHUNK_BYTES)
        return _file_chunks(self.path)


def _entries(folder: Path, model: spec_pb2.ModelSpec) -> Iterator[_Entry]:
    files = sorted(_walk(folder), key=lambda p: p.relative_to(folder).as_posix())
    has_safetensors = any(p.suffix == ".safetensors" for p in files)
    skipped: tuple[str, ...] = _SKIPPED_FILES
    if model.init == spec_pb2.INIT_RANDOM:
        skipped += _WEIGHTS
    elif has_safetensors:
        skipped += _PICKLE_WEIGHTS
    for path in files:
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in skipped):
            continue
        entry = _Entry(path.relative_to(folder).as_posix(), path)
        try:
            if model.num_layers and path.suffix == ".safetensors":
                entry.shallow = ShallowFile(path, model.num_layers)
            elif model.num_layers and path.name.endswith(".safetensors.index.json"):
                entry.text = shallow_index(path.read_text(), model.num_layers).encode()
        except (ValueError, KeyError) as error:
            raise UploadError(f"{path} cannot be cut to {model.num_layers} layers: {error}") from None
        yield entry


def _walk(folder: Path, skipped: tuple[str, ...] = _SKIPPED_FOLDERS) -> Iterator[Path]:
    """The folder's files. Links to files are followed (the hub's cache is made of them)."""
    for entry in os.scandir(folder):
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if any(fnmatch.fnmatch(entry.name, pattern) for pattern in skipped):
                continue
            if entry.is_symlink():
                raise UploadError(f"{path} is a link to a folder: it cannot be uploaded, copy or remove it")
            yield from _walk(path, skipped)
        elif entry.is_file():
            yield path
        else:
            what = "a broken link" if entry.is_symlink() else "neither a file nor a folder"
            raise UploadError(f"{path} is {what}: it cannot be uploaded")


def _tar_chunks(entries: list[_Entry], trailer_bytes: int) -> Iterator[bytes]:
    for entry in entries:
        info = tarfile.TarInfo(entry.name)
        info.size, info.mode = entry.size_bytes, 0o644
        header = info.tobuf(tarfile.GNU_FORMAT)
        if len(header) != _BLOCK:
            raise UploadError(f"the name {entry.name} is too long (100 bytes at most)")
        yield header
        sent = 0
        for chunk in entry.chunks():
            sent += len(chunk)
            yield chunk
        if sent != info.size:
            raise UploadError(f"{entry.path} changed while it was read")
        yield b"\0" * (_padded(sent) - sent)
    yield b"\0" * trailer_bytes


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _rechunk(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Pieces of exactly 1 MiB (the last one shorter), however the input is cut."""
    buffer = io.BytesIO()
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            taken = view[: CHUNK_BYTES - buffer.tell()]
            buffer.write(taken)
            view = view[len(taken) :]
            if buffer.tell() == CHUNK_BYTES:
                yield buffer.getvalue()
                buffer = io.BytesIO()
    if buffer.tell():
        yield buffer.getvalue()


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // _BLOCK) * _BLOCK


# --- Limits -----------------------------------------------------------------------------------------------


def _check_model(payload: Payload, path: Path, limits: service_pb2.Limits) -> None:
    if not limits.max_upload_bytes or payload.size_bytes <= limits.max_upload_bytes:
        return
    raise UploadError(
        f"the model {path} is {_bytes(payload.size_bytes)}, over this server's upload limit of "
        f"{_bytes(limits.max_upload_bytes)}. Choose one:\n"
        "  model: {path: /a/folder}   the same model where the workers see it (a shared disk)\n"
        "  model: {init: random}      only config and tokenizer travel; weights are random\n"
        "  model: {num_layers: 2}     the first layers only travel and run"
    )


def _check_data(payload: Payload, path: Path | None, limits: service_pb2.Limits) -> None:
    if not limits.max_upload_bytes or payload.size_bytes <= limits.max_upload_bytes:
        return
    what = f"the data file {path}" if path is not None else "the rows"
    raise UploadError(
        f"{what}: {_bytes(payload.size_bytes)} is over this server's upload limit of "
        f"{_bytes(limits.max_upload_bytes)}. Choose one:\n"
        "  a sample                   some hundred rows are plenty: head -n 500 train.jsonl > sample.jsonl\n"
        "  data: {uri: file:///...}   the same file where the workers see it"
    )


def _bytes(number: int) -> str:
    value = float(number)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"

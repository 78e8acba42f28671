"""Where uploaded content lies: files named by tenant and SHA-256, in a directory or at any fsspec address.

What exists and who uses it is the ledger's business; this class only moves bytes. All of it blocks: the
service calls it in a thread.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

import fsspec.core

from hotfire_service.store import archives
from hotfire_service.store.errors import (
    ArtifactError,
    ArtifactMissing,
    ArtifactTooLarge,
    StoreUnavailable,
)
from hotfire_service.store.keys import DEFAULT_TENANT
from hotfire_service.store.settings import StoreSettings

_NAME = re.compile(r"^(?:artifacts/)?([0-9a-f]{64})$")
_CHUNK_BYTES = 2**20
#: fsspec has no annotations.
_url_to_fs: Any = fsspec.core.url_to_fs


def sha256_of(name: str) -> str:
    """The hash in `artifacts/{sha256}` (or the bare hash).

    Raises:
        ArtifactError: It is not such a name.
    """
    match = _NAME.match(name)
    if match is None:
        raise ArtifactError(f"{name!r} is not an artifact name like artifacts/<64 hexadecimal digits>")
    return match.group(1)


class ArtifactStore:
    """Artifacts of all tenants.

    Args:
        url: A directory or an fsspec address.
        settings: Limits.
    """

    def __init__(self, url: str | None = None, *, settings: StoreSettings | None = None) -> None:
        self.settings = settings or StoreSettings()
        self._fs: Any
        self._fs, self._root = _url_to_fs(url or self.settings.artifacts_url)

    def _path(self, name: str, tenant: str) -> str:
        return f"{self._root}/{tenant}/{sha256_of(name)}"

    # --- Writing ------------------------------------------------------------------------------------------

    def incoming(self, *, max_bytes: int) -> Incoming:
        """A place to write an artifact to, chunk by chunk; nothing is visible before `commit`.

        Args:
            max_bytes: More than this raises `ArtifactTooLarge`.
        """
        return Incoming(self, max_bytes=max_bytes)

    def put(self, source: IO[bytes] | bytes, *, max_bytes: int, tenant: str = DEFAULT_TENANT) -> str:
        """Stores content and returns its name, `artifacts/{sha256}`.

        Raises:
            ArtifactTooLarge: More than `max_bytes`.
        """
        with self.incoming(max_bytes=max_bytes) as incoming:
            if isinstance(source, bytes):
                incoming.write(source)
            else:
                while chunk := source.read(_CHUNK_BYTES):
                    incoming.write(chunk)
            return incoming.commit(tenant=tenant)

    def spool_path(self) -> Path:
        """Where incoming content waits: beside local artifacts, so that a rename is enough."""
        if self._is_local:
            folder = Path(self._root) / ".incoming"
        else:
            folder = Path("~/.cache/hotfire/incoming").expanduser()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder / uuid.uuid4().hex

    @property
    def _is_local(self) -> bool:
        return "file" in self._fs.protocol or self._fs.protocol == "file"

    def adopt(self, path: Path, sha256: str, *, tenant: str) -> None:
        """Moves a finished file into place."""
        target = self._path(sha256, tenant)
        with _unavailable():
            if self._is_local:
                Path(target).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                path.replace(target)
            else:
                self._fs.put_file(str(path), target)
                path.unlink()

    # --- Reading ------------------------------------------------------------------------------------------

    def exists(self, name: str, *, tenant: str = DEFAULT_TENANT) -> bool:
        """Whether the content is there."""
        with _unavailable():
            return bool(self._fs.exists(self._path(name, tenant)))

    @contextmanager
    def open(self, name: str, *, tenant: str = DEFAULT_TENANT) -> Iterator[IO[bytes]]:
        """The stored bytes.

        Raises:
            ArtifactMissing: It is not there.
        """
        with _unavailable():
            try:
                file = self._fs.open(self._path(name, tenant), "rb")
            except FileNotFoundError:
                raise ArtifactMissing(f"{name} is not there; upload it again") from None
        with file:
            yield file

    def fetch(self, name: str, to: Path, *, tenant: str = DEFAULT_TENANT) -> Path:
        """Writes a data artifact to the file `to`, decompressed if it is gzip or zstd.

        Raises:
            ArtifactMissing: It is not there.
            ArtifactTooLarge: More than `max_unpacked_bytes` when decompressed.
            ArtifactError: The compression is broken.
        """
        with self.open(name, tenant=tenant) as file, to.open("wb") as out:
            for chunk in archives.decompressed(file, max_bytes=self.settings.max_unpacked_bytes):
                out.write(chunk)
        return to

    def unpack_model(self, name: str, into: Path, *, tenant: str = DEFAULT_TENANT) -> Path:
        """Unpacks a model artifact (an uncompressed tar) into a folder.

        Raises:
            ArtifactMissing: It is not there.
            ArtifactTooLarge: Too many bytes or files.
            ArtifactError: Not a tar, or one with links, devices, absolute or escaping names.
        """
        with self.open(name, tenant=tenant) as file:
            archives.unpack_tar(
                file,
                into,
                max_bytes=self.settings.max_unpacked_bytes,
                max_files=self.settings.max_unpacked_files,
            )
        return into

    def delete(self, name: str, *, tenant: str = DEFAULT_TENANT) -> None:
        """Removes the content, if it is there."""
        with _unavailable():
            try:
                self._fs.rm_file(self._path(name, tenant))
            except FileNotFoundError:
                pass

    def sweep_incoming(self, *, older_than_s: float = 86400.0) -> int:
        """Removes what broken uploads of a killed service left behind. Returns how many files."""
        limit = time.time() - older_than_s
        stale = [p for p in self.spool_path().parent.iterdir() if p.stat().st_mtime < limit]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)


class Incoming:
    """Content on its way in: hashed and counted while it is written. Use it as a context manager."""

    def __init__(self, store: ArtifactStore, *, max_bytes: int) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self.path = store.spool_path()
        self._file: IO[bytes] = self.path.open("wb")
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Adds a chunk.

        Raises:
            ArtifactTooLarge: Over the limit now.
            StoreUnavailable: The disk is full or gone.
        """
        self.size_bytes += len(chunk)
        if self.size_bytes > self._max_bytes:
            raise ArtifactTooLarge("the upload", self._max_bytes)
        self._hash.update(chunk)
        with _unavailable():
            self._file.write(chunk)

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._hash.hexdigest()

    def check(self, *, is_model: bool) -> None:
        """Looks at the whole content: a model must be a harmless tar, data must not be a decompression bomb.

        Raises:
            ArtifactError: It is not; the text says why.
            ArtifactTooLarge: Too much when unpacked.
        """
        self._file.flush()
        settings = self._store.settings
        with self.path.open("rb") as file:
            if is_model:
                archives.check_tar(
                    file, max_bytes=settings.max_unpacked_bytes, max_files=settings.max_unpacked_files
                )
            else:
                for _ in archives.decompressed(
                    file, max_bytes=settings.max_unpacked_bytes, tolerate_damage=True
                ):
                    pass

    def commit(self, *, tenant: str) -> str:
        """Moves the content into place and returns its name."""
        self._file.close()
        self._store.adopt(self.path, self.sha256, tenant=tenant)
        return f"artifacts/{self.sha256}"


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except ArtifactError:
        raise
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise StoreUnavailable(f"the artifact store failed ({type(error).__name__})") from error

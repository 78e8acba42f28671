"""Reading compressed data and tars from strangers: streaming, counted, nothing leaves its folder."""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import zstandard

from hotfire_service.store.errors import ArtifactError, ArtifactTooLarge

_CHUNK_BYTES = 2**20
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
#: Most memory that a zstd frame may ask for (its window).
_MAX_WINDOW_BYTES = 2**27
#: Four bytes can stand for a block of 128 KiB: a slice becomes 32 MiB at most.
_ZSTD_SLICE_BYTES = 2**10


def decompressed(file: IO[bytes], *, max_bytes: int, tolerate_damage: bool = False) -> Iterator[bytes]:
    """The content in chunks: gzip and zstd are recognised by their first bytes, anything else comes as it is.

    Args:
        file: A seekable binary file.
        max_bytes: Decompressed bytes after which it stops.
        tolerate_damage: Stop silently at broken compression (what is wrong with the data is a finding, not an
            error of the upload).

    Raises:
        ArtifactTooLarge: More than `max_bytes`.
        ArtifactError: Broken compression.
    """
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(_GZIP):
        chunks = _gzip(file)
    elif magic == _ZSTD:
        chunks = _zstd(file)
    else:
        chunks = iter(lambda: file.read(_CHUNK_BYTES), b"")
    total = 0
    try:
        for chunk in chunks:
            total += len(chunk)
            if total > max_bytes:
                raise ArtifactTooLarge("the decompressed content", max_bytes)
            yield chunk
    except (zlib.error, EOFError, zstandard.ZstdError) as error:
        if not tolerate_damage:
            raise ArtifactError(f"the compressed data is damaged ({type(error).__name__}: {error})") from None


def _gzip(file: IO[bytes]) -> Iterator[bytes]:
    """Members one after the other, never more than a chunk of output at a time."""
    member = zlib.decompressobj(wbits=31)
    is_open = False
    while data := file.read(_CHUNK_BYTES):
        while data:
            is_open = True
            if chunk := member.decompress(data, _CHUNK_BYTES):
                yield chunk
            data = member.unconsumed_tail
            if member.eof:
                data = member.unused_data.lstrip(b"\0")
                member, is_open = zlib.decompressobj(wbits=31), False
    while chunk := member.decompress(member.unconsumed_tail, _CHUNK_BYTES):
        yield chunk
    if is_open and not member.eof:
        raise EOFError("it ends in the middle")


def _zstd(file: IO[bytes]) -> Iterator[bytes]:
    """Frames one after the other; a slice of input is so small that what it can become fits in memory."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    frame = decompressor.decompressobj()
    is_open = False
    while data := file.read(_ZSTD_SLICE_BYTES):
        while data:
            is_open = True
            if chunk := frame.decompress(data):
                yield chunk
            data = b""
            if frame.eof:
                data = frame.unused_data
                frame, is_open = decompressor.decompressobj(), False
    if is_open:
        raise EOFError("it ends in the middle")


def check_tar(file: IO[bytes], *, max_bytes: int, max_files: int) -> list[tarfile.TarInfo]:
    """The members of an uncompressed tar, after looking at every one.

    Raises:
        ArtifactError: Not a tar; links, devices, absolute or escaping names, names given twice, sparse files.
        ArtifactTooLarge: More bytes or files than allowed.
    """
    members: list[tarfile.TarInfo] = []
    seen: set[str] = set()
    total = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                _check_member(member, seen)
                total += member.size
                members.append(member)
                if total > max_bytes:
                    raise ArtifactTooLarge("the unpacked model", max_bytes)
                if len(members) > max_files:
                    raise ArtifactError(f"the tar holds more than {max_files} files")
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise ArtifactError(f"a model must be an uncompressed tar of its folder ({error})") from None
    if not any(m.isfile() for m in members):
        raise ArtifactError("the tar holds no file")
    return members


def _check_member(member: tarfile.TarInfo, seen: set[str]) -> None:
    name = member.name
    shown = name[:200]
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise ArtifactError(f"{shown!r} in the tar is neither a plain file nor a folder; links are refused")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or re.search(r"[\x00-\x1f]", name):
        raise ArtifactError(f"{shown!r} in the tar is not a relative name below the folder")
    normal = str(path)
    if normal in seen and not member.isdir():
        raise ArtifactError(f"{shown!r} is in the tar twice")
    seen.add(normal)


def unpack_tar(file: IO[bytes], into: Path, *, max_bytes: int, max_files: int) -> None:
    """Unpacks a tar after `check_tar`; files get mode 0600, folders 0700, whatever the tar says.

    Raises:
        ArtifactError: As `check_tar`.
        ArtifactTooLarge: As `check_tar`.
    """
    members = check_tar(file, max_bytes=max_bytes, max_files=max_files)
    file.seek(0)
    into.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in members:
            target = into / PurePosixPath(member.name)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True, mode=0o700)
                continue
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            source = archive.extractfile(member)
            if source is None:
                raise ArtifactError(f"{member.name[:200]!r} in the tar cannot be read")
            with source, target.open("xb") as out:
                target.chmod(0o600)
                while chunk := source.read(_CHUNK_BYTES):
                    out.write(chunk)

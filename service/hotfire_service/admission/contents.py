"""What a preflight's answer depends on besides its spec: files that the spec names, and what the pool runs on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from google.protobuf.message import Message

from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1 import spec_pb2

_MAX_FILES = 10_000


def contents_of(spec: spec_pb2.PreflightSpec, pool: service_pb2.Pool | None) -> str | None:
    """A fingerprint of the files, the libraries and Hotfire itself.

    Files count by name, size, time of change and inode: reading a model of many GB costs more than the answer.

    Args:
        spec: The spec; artifacts and inline rows carry their content's hash in their name.
        pool: The pool that would run it.

    Returns:
        None where it is not known: the pool has no worker, or the content cannot be seen from here (the hub, a
        remote URI, a path on another machine).
    """
    if pool is None or not pool.versions:
        return None
    files = []
    named: tuple[tuple[Message, str], ...] = ((spec.model, "path"), (spec.model, "uri"), (spec.data, "uri"))
    for source, value in named:
        if source.HasField(value):
            seen = _files(getattr(source, value))
            if seen is None:
                return None
            files.append(seen)
    if spec.model.HasField("hub_id") or spec.data.HasField("hub_id"):
        return None
    parts = [files, dict(pool.versions), pool.device, metadata.version("hotfire")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _files(place: str) -> list[tuple[str, int, int, int]] | None:
    parts = urlsplit(place)
    if parts.scheme not in ("", "file"):
        return None
    path = Path(unquote(parts.path) if parts.scheme else place)
    found: list[tuple[str, int, int, int]] = []
    try:
        for file in _walk(path):
            if len(found) == _MAX_FILES:
                return None
            facts = file.stat()
            found.append((str(file), facts.st_size, facts.st_mtime_ns, facts.st_ino))
    except OSError:
        return None
    return sorted(found) or None


def _walk(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, _, names in os.walk(path):
        yield from (Path(folder, name) for name in names)

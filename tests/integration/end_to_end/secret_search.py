"""Looks for a secret in everything that a run has left: files, Redis, metrics, texts."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hotfire_service.store import StoreSettings
from hotfire_service.store.connection import connect


def files_below(folders: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    """(path, content) of every file."""
    for folder in folders:
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink():
                yield str(file), file.read_bytes()


def redis_values(store: StoreSettings) -> Iterator[tuple[str, bytes]]:
    """(key, content) of every key, ours and Celery's, whatever its type."""
    client: Any = connect(store)
    for key in client.scan_iter(count=1000):
        match client.type(key):
            case b"string":
                value = client.get(key) or b""
            case b"hash":
                value = b"\n".join(part for item in client.hgetall(key).items() for part in item)
            case b"set":
                value = b"\n".join(client.smembers(key))
            case b"list":
                value = b"\n".join(client.lrange(key, 0, -1))
            case b"zset":
                value = b"\n".join(client.zrange(key, 0, -1))
            case b"stream":
                value = b"\n".join(
                    part for _, fields in client.xrange(key) for item in fields.items() for part in item
                )
            case kind:
                raise AssertionError(f"{key!r}: a {kind!r} is not searched")
        yield key.decode(), key + b"\n" + value
    client.close()


def scrape(address: str) -> str:
    """The metrics of a side port."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def places_of(secret: str, texts: Iterable[tuple[str, bytes]]) -> list[str]:
    """Where the secret stands, as text."""
    return [name for name, content in texts if secret.encode() in content]

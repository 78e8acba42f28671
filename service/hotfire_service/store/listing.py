"""Pages of preflights: newest first, filtered, resumable by a token."""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hotfire.v1 import preflight_pb2
from hotfire_service.store import records
from hotfire_service.store.errors import StoreError
from hotfire_service.store.keys import Keys

#: Records looked at per round trip, and per page: a filter that matches nothing must not read for ever.
_BATCH = 200
_MAX_SCANNED = 5_000


class PageTokenError(StoreError):
    """Not a token of ours, or one of another query."""


@dataclass(kw_only=True, slots=True)
class Query:
    """What to list."""

    tenant: str
    page_size: int
    page_token: str = ""
    state: int = 0
    verdict: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    max_bytes: int = 2**20 * 3
    """A page ends early before it grows over a message."""

    @property
    def filters(self) -> str:
        """What a token belongs to."""
        return json.dumps([self.state, self.verdict, sorted(self.labels.items())])

    def matches(self, fields: Mapping[bytes, bytes | None]) -> bool:
        """Whether a record is wanted."""
        if self.state and int(fields.get(b"state") or 0) != self.state:
            return False
        if self.verdict and int(fields.get(b"verdict") or 0) != self.verdict:
            return False
        if self.labels:
            labels = json.loads(fields.get(b"labels") or b"{}")
            return all(labels.get(k) == v for k, v in self.labels.items())
        return True


@dataclass(slots=True)
class Page:
    """One page."""

    preflights: list[preflight_pb2.Preflight]
    next_page_token: str


def write_token(query: Query, created_ms: int, key: str) -> str:
    """The token of the place after this record."""
    text = json.dumps([created_ms, key, query.filters])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_token(query: Query) -> tuple[int, str] | None:
    """The place a query goes on from; None: from the newest.

    Raises:
        PageTokenError: The token is damaged or was made with other filters.
    """
    if not query.page_token:
        return None
    try:
        padded = query.page_token + "=" * (-len(query.page_token) % 4)
        created_ms, key, filters = json.loads(base64.urlsafe_b64decode(padded))
        place = int(created_ms), str(key)
    except (binascii.Error, ValueError, TypeError):
        raise PageTokenError("it is not a token from a ListPreflights answer") from None
    if filters != query.filters:
        raise PageTokenError("it belongs to a query with other filters")
    return place


async def read_page(client: Any, keys: Keys, query: Query) -> Page:
    """Reads one page. Records that are gone or past their time are left out.

    Raises:
        PageTokenError: See `read_token`.
    """
    place = read_token(query)
    page = Page([], "")
    size = scanned = 0
    while True:
        batch = await _next_keys(client, keys.index(query.tenant), place)
        if not batch:
            return page
        pipeline = client.pipeline(transaction=False)
        for key, _ in batch:
            pipeline.hmget(keys.record(key), records.LIST_FIELDS)
        for (key, created_ms), values in zip(batch, await pipeline.execute(), strict=True):
            full = len(page.preflights) >= query.page_size or scanned >= _MAX_SCANNED
            if full or size > query.max_bytes:
                if place is not None:
                    page.next_page_token = write_token(query, *place)
                return page
            place = (created_ms, key)
            scanned += 1
            fields = {name.encode(): value for name, value in zip(records.LIST_FIELDS, values, strict=True)}
            expire = fields[b"expire_ms"]
            if expire is None or int(expire) <= time.time() * 1000 or not query.matches(fields):
                continue
            preflight = records.to_preflight(key, fields)
            page.preflights.append(preflight)
            size += preflight.ByteSize()


async def _next_keys(client: Any, index: str, place: tuple[int, str] | None) -> list[tuple[str, int]]:
    """The next (key id, creation time) after a place: by time, then by name, both downwards."""
    if place is None:
        entries = await client.zrange(index, 0, _BATCH - 1, desc=True, withscores=True)
        return [(key.decode(), int(score)) for key, score in entries]
    created_ms, last = place
    skipped = 0
    while True:
        entries = await client.zrevrangebyscore(
            index, created_ms, "-inf", start=skipped, num=_BATCH, withscores=True
        )
        found = [(key.decode(), int(score)) for key, score in entries]
        fresh = [(key, score) for key, score in found if score < created_ms or key < last]
        if fresh or len(found) < _BATCH:
            return fresh
        skipped += _BATCH

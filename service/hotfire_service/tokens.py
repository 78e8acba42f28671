"""Bearer tokens: who may call, as which tenant, until when.

A token file is TOML and holds no token, only its SHA-256:

    [[token]]
    name = "ci"                          # for logs; unique
    tenant = "team-a"                    # default: "default"
    sha256 = "9f86d081884c7d65..."       # of the token's text
    expires = 2027-03-01T00:00:00Z       # optional

`hotfire serve token new` makes a token of 256 random bits and its entry. A plain digest is enough for such tokens:
nobody can guess one, so there is nothing that a salt or a slow hash would protect. A token that a person thought up has
no place here. The file is read again within a second of its change; one that cannot be read leaves the tokens as they
were, and the log says so. To revoke a token, delete its entry.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
import time
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from hotfire_service import errors, watched
from hotfire_service.store.keys import DEFAULT_TENANT

_log = structlog.get_logger("hotfire.service")

TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEYS = {"name", "tenant", "sha256", "expires"}
_LOOK_AGAIN_S = 1.0


class TokenFileError(ValueError):
    """A token file is wrong; the text has one line per mistake, and no digest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenEntry:
    """One token that is known."""

    name: str
    digest: bytes = field(repr=False)
    tenant: str = DEFAULT_TENANT
    expires: dt.datetime | None = None
    """With a time zone."""

    def is_expired(self) -> bool:
        """Its time is over."""
        return self.expires is not None and self.expires <= dt.datetime.now(dt.UTC)


def digest_of(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


def read_tokens(path: Path) -> list[TokenEntry]:
    """The entries of a token file.

    Raises:
        TokenFileError: It cannot be read, or an entry is wrong; all mistakes at once.
    """
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise TokenFileError(f"cannot read the token file {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise TokenFileError(f"the token file {path} is no TOML: {error}") from None
    mistakes = [f"unknown key {key!r}; entries are [[token]]" for key in document if key != "token"]
    entries: list[TokenEntry] = []
    given = document.get("token", [])
    for number, item in enumerate(given if isinstance(given, list) else [given], start=1):
        try:
            entries.append(_entry(item))
        except ValueError as error:
            mistakes.append(f"[[token]] {number}: {error}")
    names = [entry.name for entry in entries]
    mistakes += [f"two tokens are named {name!r}" for name in sorted(set(names)) if names.count(name) > 1]
    if mistakes:
        raise TokenFileError("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    return entries


def _entry(item: Any) -> TokenEntry:
    if not isinstance(item, dict):
        raise ValueError("is no table")
    if unknown := set(item) - _KEYS:
        raise ValueError(f"unknown key {min(unknown)!r}; known are {', '.join(sorted(_KEYS))}")
    name, tenant, digest = item.get("name"), item.get("tenant", DEFAULT_TENANT), item.get("sha256")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"name {name!r} must be letters, digits and . _ @ -")
    if not isinstance(tenant, str) or not TENANT.fullmatch(tenant):
        raise ValueError(f"tenant {tenant!r} must be lower-case letters, digits and -")
    # The value is not repeated: somebody may have put the token itself there.
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest.lower()):
        raise ValueError("sha256 must be the 64 hexadecimal digits of the token's SHA-256, not the token")
    return TokenEntry(
        name=name, tenant=tenant, digest=bytes.fromhex(digest), expires=_expiry(item.get("expires"))
    )


def _expiry(value: Any) -> dt.datetime | None:
    if value is None:
        return None
    if isinstance(value, dt.datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    raise ValueError(f"expires {value!r} must be a date or a time without quotes, as 2027-03-01T00:00:00Z")


def plain_entries(tokens: Mapping[str, str]) -> list[TokenEntry]:
    """Entries of the tokens that stand in the settings: tenant -> token."""
    return [TokenEntry(name=f"setting:{t}", tenant=t, digest=digest_of(token)) for t, token in tokens.items()]


class TokenTable:
    """Who a caller is.

    Args:
        entries: Tokens that never change.
        path: A token file besides.

    Raises:
        TokenFileError: The file is wrong at the start.
    """

    def __init__(self, entries: Iterable[TokenEntry] = (), *, path: Path | None = None) -> None:
        self._fixed = list(entries)
        self._path = path
        self._read: list[TokenEntry] = []
        self._stamp: watched.Stamp | None = None
        self._look_at = 0.0
        self.num_reloads = {"read": 0, "refused": 0}
        if path is not None:
            self._stamp = watched.stamp(path)
            self._read = read_tokens(path)
            self._look_at = time.monotonic() + _LOOK_AGAIN_S

    @property
    def is_open(self) -> bool:
        """No token is wanted. A token file with no entry is no open door: then nobody gets in."""
        return self._path is None and not self._fixed

    def caller(self, authorization: str | None) -> TokenEntry | None:
        """Whose token an `authorization` header carries; None where no token is wanted.

        Compares with every entry, in constant time.

        Raises:
            Unauthenticated: No token, a wrong one, or one that has expired.
        """
        if self.is_open:
            return None
        if authorization is None:
            raise errors.Unauthenticated(
                "this server wants a token: metadata `authorization: Bearer <token>`", reason="TOKEN_MISSING"
            )
        scheme, _, token = authorization.partition(" ")
        digest = digest_of(token.strip())
        found = None
        for entry in self._entries():
            if hmac.compare_digest(digest, entry.digest):
                found = entry
        if found is None or scheme.lower() != "bearer":
            raise errors.Unauthenticated("the token is not valid here", reason="TOKEN_INVALID")
        if found.is_expired():
            raise errors.Unauthenticated(
                f"the token {found.name!r} has expired; ask the operator for a new one",
                reason="TOKEN_EXPIRED",
            )
        return found

    def _entries(self) -> list[TokenEntry]:
        now = time.monotonic()
        if self._path is not None and now >= self._look_at:
            self._look_at = now + _LOOK_AGAIN_S
            self._look(self._path)
        return [*self._fixed, *self._read]

    def _look(self, path: Path) -> None:
        stamp = watched.stamp(path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._read = read_tokens(path)
        except TokenFileError as error:
            self.num_reloads["refused"] += 1
            _log.error("tokens_kept", why=str(error), num_tokens=len(self._read))
            return
        self.num_reloads["read"] += 1
        _log.info("tokens_read", num_tokens=len(self._read))

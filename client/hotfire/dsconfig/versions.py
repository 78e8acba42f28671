"""DeepSpeed versions as tuples that compare."""

from __future__ import annotations

import re

KNOWN = "0.19.8"
"""The version the key table was taken from, and the one that is meant where none is given."""

Version = tuple[int, ...]


def parse(text: str | None) -> Version:
    """("0.18.2+cu12" -> (0, 18, 2)); what is not a version counts as the known one."""
    match = re.match(r"\s*v?(\d+(?:\.\d+)*)", text or "")
    return tuple(int(part) for part in (match[1] if match else KNOWN).split("."))


def within(version: Version, since: str | None, until: str | None) -> bool:
    """Is this version in [since, until)? An absent bound is open."""
    return (since is None or version >= parse(since)) and (until is None or version < parse(until))

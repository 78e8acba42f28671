"""A fixed DeepSpeed config: as a diff, and into its file."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path

from hotfire.errors import SettingsError
from hotfire.rules.evidence import Finding


@dataclass(kw_only=True, slots=True)
class FixedFile:
    """A config file before and after."""

    path: Path
    before: str
    text: str
    applied: list[Finding] = field(default_factory=list)
    left: list[tuple[Finding, str]] = field(default_factory=list)
    """What was not fixed, and why."""


def unified(name: str, before: str, after: str) -> str:
    """The change as `patch` takes it; "" where there is none."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        fromfile=f"a/{name}",
        tofile=f"b/{name}",
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def write(fixed: FixedFile) -> None:
    """Writes the file, if it has changed.

    Raises:
        SettingsError: It cannot be written, or has changed since it was read.
    """
    if fixed.text == fixed.before:
        return
    try:
        if fixed.path.read_bytes().decode() != fixed.before:
            raise SettingsError(f"{fixed.path} has changed meanwhile: nothing was written")
        fixed.path.write_bytes(fixed.text.encode())
    except OSError as error:
        raise SettingsError(f"--fix: cannot write {fixed.path}: {error.strerror or error}") from None

"""One check and what came of it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any


class State(enum.StrEnum):
    """PROBLEM: something will not work. WARNING: something may not, or will be slow."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What one check found."""

    name: str
    """Kebab name, such as "stale-locks"."""
    state: State
    message: str
    remedy: str | None = None
    """What to do, with WARNING and PROBLEM."""
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "state": self.state.value,
            "message": self.message,
            "remedy": self.remedy,
            "details": self.details,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A function that looks at one thing; it may find several."""

    name: str
    look: Callable[[], Iterable[Check]]
    limit_s: float = 5.0
    """After so long it is given up: a hanging file system or driver is itself a finding."""


def ok(name: str, message: str, **details: Any) -> Check:
    """Nothing to do."""
    return Check(name=name, state=State.OK, message=message, details=details)


def warning(name: str, message: str, remedy: str, **details: Any) -> Check:
    """May matter."""
    return Check(name=name, state=State.WARNING, message=message, remedy=remedy, details=details)


def problem(name: str, message: str, remedy: str, **details: Any) -> Check:
    """Will not work."""
    return Check(name=name, state=State.PROBLEM, message=message, remedy=remedy, details=details)


def not_applicable(name: str, message: str, **details: Any) -> Check:
    """Not of this machine."""
    return Check(name=name, state=State.NOT_APPLICABLE, message=message, details=details)

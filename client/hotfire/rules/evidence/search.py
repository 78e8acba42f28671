"""What the search for guilty keys did."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(kw_only=True, slots=True)
class Search:
    """A bisect between the submitted config and one that works."""

    working: str
    """What the working config is."""
    num_keys: int
    """Keys in which the two differ."""
    num_trials: int = 0
    """Trials that the search asked for; those that an earlier one answered are not counted."""
    guilty: list[str] = field(default_factory=list)
    """Pointers of the smallest set of keys that breaks the job: those that the cure changes, and those that are
    harmless without them."""
    acquitted: list[str] = field(default_factory=list)
    """Pointers of keys that differ and make no difference."""
    stopped: str | None = None
    """Why the search ended before the smallest set was sure; None: it did not."""

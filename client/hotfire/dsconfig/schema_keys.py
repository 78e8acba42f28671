"""What the key table is made of: keys, sections, and short ways to write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hotfire.dsconfig.versions import Version, parse, within


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of a section."""

    name: str
    kind: str
    """bool, int, float, str, choice, list, dict, section, number-list, names, any, none (no value)."""
    default: Any = None
    nullable: bool = False
    """null is accepted (and means: not given)."""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    bound_since: str | None = None
    """The bounds hold from this version on; `old_ge` before."""
    old_ge: float | None = None
    choices: tuple[Any, ...] = ()
    aliases: tuple[str, ...] = ()
    """Other names of the same field."""
    since: str | None = None
    """First DeepSpeed version that knows it, where later than 0.14.5."""
    until: str | None = None
    """First version that does not know it any more."""
    removed: str | None = None
    """Why it was taken out; set where its mere presence is refused from `until` on."""
    replaced_by: str | None = None
    """The name to use instead: the key is deprecated."""
    old_default: tuple[str, Any] | None = None
    """(version, value): the default before that version."""
    section: Section | None = None
    stage3: bool = False
    """Without effect below ZeRO stage 3."""

    def known(self, version: Version) -> bool:
        """Does this version know the key?"""
        return within(version, self.since, self.until)

    def default_at(self, version: Version) -> Any:
        """The default of that version."""
        if self.old_default is not None and version < parse(self.old_default[0]):
            return self.old_default[1]
        return self.default


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """An object with keys."""

    keys: tuple[Key, ...] = ()
    strict_since: str | None = None
    """From this version on unknown names and wrong types raise, and "auto" is dropped. None: never."""
    any_key: bool = False
    """Other names than these may stand in it."""

    def strict(self, version: Version) -> bool:
        """Does this version check the section (a pydantic model with extra="forbid")?"""
        return self.strict_since is not None and version >= parse(self.strict_since)

    def find(self, name: str) -> Key | None:
        """The key with this name or alias."""
        return next((k for k in self.keys if name == k.name or name in k.aliases), None)


def flag(name: str, default: bool | None = False, **more: Any) -> Key:
    """A yes/no key."""
    return Key(name=name, kind="bool", default=default, **more)


def integer(name: str, default: int | None = None, **more: Any) -> Key:
    """A whole number."""
    return Key(name=name, kind="int", default=default, **more)


def number(name: str, default: float | None = None, **more: Any) -> Key:
    """Any finite number."""
    return Key(name=name, kind="float", default=default, **more)


def text(name: str, default: str | None = None, **more: Any) -> Key:
    """A string."""
    return Key(name=name, kind="str", default=default, **more)


def choice(name: str, choices: tuple[Any, ...], default: Any = None, **more: Any) -> Key:
    """One of a few values."""
    return Key(name=name, kind="choice", choices=choices, default=default, **more)


def anything(name: str, default: Any = None, **more: Any) -> Key:
    """A value nobody checks."""
    return Key(name=name, kind="any", default=default, **more)


def unchecked(names: str) -> tuple[Key, ...]:
    """Keys whose values nobody checks, by their names with spaces between."""
    return tuple(anything(name) for name in names.split())


def section(name: str, *keys: Key, strict: str | None = None, any_key: bool = False, **more: Any) -> Key:
    """An object with keys of its own."""
    return Key(
        name=name, kind="section", section=Section(keys=keys, strict_since=strict, any_key=any_key), **more
    )

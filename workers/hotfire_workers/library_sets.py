"""Other versions of libraries that this worker offers beside its own, and which of them a job asks for."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}")
_HOW = "make one with: DS_BUILD_OPS=0 pip install --no-deps --no-build-isolation --target {folder} deepspeed==VERSION"


@dataclass(frozen=True, kw_only=True, slots=True)
class LibrarySet:
    """A folder of libraries that are imported instead of the worker's own.

    Attributes:
        name: As in `TrialRequest.library_set`.
        folder: What is put in front of `sys.path`.
        versions: Library -> version, of all that lies in the folder.
    """

    name: str
    folder: Path
    versions: Mapping[str, str]


def read_set(name: str, folder: Path) -> LibrarySet:
    """The set in a folder.

    Raises:
        ValueError: There is none; says how to make one.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"library set {name!r}: its name must consist of letters, digits and . _ + -")
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise ValueError(f"library set {name!r}: there is no folder {folder}")
    versions = {
        found.metadata["Name"].lower().replace("_", "-"): found.version
        for found in importlib.metadata.distributions(path=[str(folder)])
    }
    if not versions:
        raise ValueError(
            f"library set {name!r}: {folder} holds no installed library; {_HOW.format(folder=folder)}"
        )
    return LibrarySet(name=name, folder=folder, versions=dict(sorted(versions.items())))


def read_sets(given: Mapping[str, Path] | Path | None) -> tuple[LibrarySet, ...]:
    """The sets that a setting names.

    Args:
        given: Name -> folder; or one folder, whose sub-folders are the sets, named as they are.

    Raises:
        ValueError: A folder is missing or holds no library.
    """
    if given is None:
        return ()
    if isinstance(given, Mapping):
        return tuple(read_set(name, Path(folder)) for name, folder in given.items())
    if not given.is_dir():
        raise ValueError(f"there is no folder {given}")
    if any(given.glob("*.dist-info")):
        raise ValueError(
            f'{given} is itself a library set: name it, as {{"{given.name}": "{given}"}}, or give the folder above it'
        )
    folders = sorted(entry for entry in given.iterdir() if entry.is_dir() and any(entry.glob("*.dist-info")))
    return tuple(read_set(folder.name, folder) for folder in folders)


@dataclass(frozen=True, kw_only=True, slots=True)
class Libraries:
    """All that a worker can run a trial with.

    Attributes:
        own: Library -> version of its own environment.
        sets: What it offers besides.
    """

    own: Mapping[str, str] = field(default_factory=dict)
    sets: tuple[LibrarySet, ...] = ()

    def choose(self, wanted: Mapping[str, str]) -> str | None:
        """The set that runs a job.

        Args:
            wanted: `cluster.versions` of the job.

        Returns:
            The name of the set of which every library that the job names has the version that it names, and with
            which more of them are right than with the worker's own; else None: the worker's own libraries.
        """
        best, most = None, self._num_right({}, wanted)
        for library_set in self.sets:
            offered = library_set.versions
            if any(not same_release(version, wanted.get(name, version)) for name, version in offered.items()):
                continue
            if (right := self._num_right(offered, wanted)) > most:
                best, most = library_set.name, right
        return best

    def _num_right(self, offered: Mapping[str, str], wanted: Mapping[str, str]) -> int:
        there = {**self.own, **offered}
        return sum(name in there and same_release(there[name], version) for name, version in wanted.items())

    def versions_of(self, name: str | None) -> dict[str, str]:
        """What a trial runs with: under a set, or (None) the worker's own."""
        offered = next((s.versions for s in self.sets if s.name == name), {})
        return {**self.own, **offered}

    @property
    def names(self) -> list[str]:
        """Every library that a trial can run with."""
        return sorted({*self.own, *(name for s in self.sets for name in s.versions)})

    def offered(self, library: str) -> list[str]:
        """Every version of a library that a trial can run with, the worker's own first."""
        found = [v for v in (self.own.get(library), *(s.versions.get(library) for s in self.sets)) if v]
        return list(dict.fromkeys(found))

    def lack(self, wanted: Mapping[str, str], changed: Mapping[str, str]) -> str | None:
        """Why a job cannot run with the versions that a patch asks for; None: it can.

        Args:
            wanted: `cluster.versions` of the patched job.
            changed: Those of them that the patch has changed.
        """
        there = self.versions_of(self.choose(wanted))
        for library, version in changed.items():
            if library in there and same_release(there[library], version):
                continue
            offers = ", ".join(self.offered(library)) or "none"
            return f"this worker has no {library} {version} (it has: {offers}): run it on a pool with that version"
        return None


def same_release(one: str, other: str) -> bool:
    """2.13.0+cpu is 2.13.0: the local part says nothing about behaviour."""
    return one.strip().split("+")[0] == other.strip().split("+")[0]

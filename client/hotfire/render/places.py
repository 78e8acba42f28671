"""Where a finding stands in the files that people have: the DeepSpeed config, the spec, the data."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from hotfire._document import Document, dotted, read_document
from hotfire.errors import MissingExtraError
from hotfire.patch import PatchError, split_pointer
from hotfire.spec import LoadedSpec
from hotfire.v1 import report_pb2


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file; line and column from 1."""

    file: str
    """As people name it: relative to the working folder if it lies below."""
    line: int | None = None
    column: int | None = None


@dataclass(kw_only=True, slots=True)
class Sources:
    """The files of one job. Each may be unknown: a finding then has no place, only a pointer."""

    deepspeed: Path | None = None
    spec: Path | None = None
    training: Path | None = None
    """A file of training arguments that the spec or an option names."""
    data: Path | None = None
    log: Path | None = None
    """The log that `hotfire diagnose` read: where everything stands that no other file has."""
    _read: dict[Path, Document | None] = field(default_factory=dict)

    @classmethod
    def of(cls, loaded: LoadedSpec) -> Sources:
        """The files on this machine that a spec names, and its own."""
        return cls(
            deepspeed=loaded.deepspeed_path,
            spec=loaded.path,
            training=loaded.training_path,
            data=loaded.data_path,
        )

    def place(self, location: report_pb2.Location) -> Place | None:
        """The place of a finding; None if it is in no file that is known."""
        pointer = location.config_path
        if pointer.startswith("/deepspeed") or (location.HasField("line") and not pointer):
            if self.deepspeed is not None:
                line = location.line if location.HasField("line") else None
                column = location.column if location.HasField("column") else None
                return Place(shown(self.deepspeed), line, column)
            return self._of_key(self.spec, pointer) or self._whole(self.spec)
        if pointer.startswith("/training/") and self.training is not None:
            below = pointer.removeprefix("/training")
            return self._of_key(self.training, below) or self._whole(self.training)
        if (key := self._of_key(self.spec, pointer)) is not None:
            return key
        if location.HasField("row") and self.data is not None:
            # A row is a line of a JSON Lines file, and of nothing else.
            is_lines = self.data.suffix.lower() in (".jsonl", ".ndjson")
            return Place(shown(self.data), location.row if is_lines else None)
        return self._whole(self.log or self.spec or self.deepspeed)

    def _whole(self, file: Path | None) -> Place | None:
        return Place(shown(file)) if file is not None else None

    def _of_key(self, file: Path | None, pointer: str) -> Place | None:
        """The line of a key of a YAML or JSON file, or of the nearest section above it."""
        document = self._document(file)
        if file is None or document is None or not pointer:
            return None
        try:
            keys = split_pointer(pointer)
        except PatchError:
            return None
        while keys:
            at = document.positions.get(dotted(tuple(int(k) if k.isdigit() else k for k in keys)))
            if at is not None:
                return Place(shown(file), *at)
            keys.pop()
        return None

    def _document(self, file: Path | None) -> Document | None:
        if file is None:
            return None
        if file not in self._read:
            try:
                self._read[file] = read_document(file.read_text(encoding="utf-8-sig"), path=file)
            except (OSError, UnicodeDecodeError, MissingExtraError):
                self._read[file] = None
        return self._read[file]


def shown(path: Path) -> str:
    """A path as people name it, with slashes."""
    relative = os.path.relpath(path)
    return Path(path if relative.startswith("..") else relative).as_posix()

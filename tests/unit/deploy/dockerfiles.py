"""Reads Dockerfiles as far as ours go: instructions, and the words of each."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Instruction:
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


def stages(path: Path) -> list[list[Instruction]]:
    """The instructions of each stage; what comes before the first FROM is the first of them."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n", "", "\n".join(lines))
    found: list[list[Instruction]] = [[]]
    for line in joined.splitlines():
        name, _, text = line.partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append(Instruction(name, text.strip()))
    return found


def environment(instructions: list[Instruction]) -> dict[str, str]:
    """What ENV sets, not expanded."""
    pairs = [word.partition("=") for i in instructions if i.name == "ENV" for word in i.words]
    return {name: value for name, _, value in pairs}

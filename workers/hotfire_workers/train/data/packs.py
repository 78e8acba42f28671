"""Rows packed into one, as TRL's SFTTrainer does it for `packing: true`.

Strategies (`trl.data_utils.pack_dataset`, 1.16; `training.packing_strategy`):

    bfd         whole rows, best fit decreasing; a row longer than max_length loses its end. The default.
    bfd_split   the same, but the overflow of a long row is a row of its own.
    wrapped     rows are joined and cut every max_length tokens, wherever that is.

With the first two TRL trains without padding: all packs of a micro-batch become one sequence without attention
mask, positions start at 0 in every row, and the first token of a row has no label. With `wrapped` nothing marks
where a row begins.
"""

from __future__ import annotations

import bisect
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

_GROUP_ROWS = 1000
"""`datasets.Dataset.map` hands over so many rows at a time: no pack holds rows of two groups."""
_STRATEGIES = {"bfd": "bfd", "bfd_split": "bfd_split", "bfd-requeue": "bfd_split", "wrapped": "wrapped"}
_WHY_NOT_PAIRS = "preference pairs are not packed (TRL's DPOTrainer has no packing)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """How a job packs.

    Attributes:
        strategy: "bfd", "bfd_split" or "wrapped".
        length: `training.max_length`: no pack has more tokens.
        keeps_apart: Positions start anew in every row.
    """

    strategy: str
    length: int
    keeps_apart: bool

    @property
    def truncates(self) -> bool:
        """Rows longer than a pack lose their end."""
        return self.strategy == "bfd"


@dataclass(kw_only=True, slots=True)
class Pack:
    """One training example.

    Attributes:
        rows: Numbers of the rows in it, in their order; a row in several pieces comes in several packs.
        lengths: Tokens of each piece.
    """

    rows: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    input_ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def line(self, packing: Packing) -> dict[str, Any]:
        """As trials read it; `seq_lengths` (TRL's name) where the rows are kept apart."""
        line: dict[str, Any] = {
            "row": self.rows[0],
            "rows": list(dict.fromkeys(self.rows)),
            "input_ids": self.input_ids,
            "labels": self.labels,
            "attention_mask": [1] * len(self.input_ids),
        }
        return line | {"seq_lengths": self.lengths} if packing.keeps_apart else line


@dataclass(kw_only=True, slots=True)
class Piece:
    """A row, or a part of one.

    Attributes:
        row: Its number.
        place: Where in the row the part begins.
    """

    row: int
    input_ids: list[int]
    labels: list[int]
    place: int = 0


def packing_of(training: dict[str, Any], format_name: str | None) -> tuple[Packing | None, str | None]:
    """How the job packs: (how, None), or (None, why it does not although it asks for it).

    Args:
        training: The training arguments.
        format_name: Of the sample, as `DataEvidence.format`.
    """
    if not training.get("packing"):
        return None, None
    if format_name == "PREFERENCE":
        return None, _WHY_NOT_PAIRS
    length = training.get("max_length")
    if length is None:
        return None, "packing needs training.max_length, which is not given (TRL refuses to pack without it)"
    asked = str(training.get("packing_strategy") or "bfd")
    if asked not in _STRATEGIES:
        return None, f"packing_strategy {asked[:40]!r} is none that TRL has ({', '.join(_STRATEGIES)})"
    strategy = _STRATEGIES[asked]
    # LLaMA-Factory packs whole rows, and marks their borders with neat_packing only.
    keeps_apart = strategy != "wrapped" and training.get("neat_packing") is not False
    return Packing(strategy=strategy, length=length, keeps_apart=keeps_apart), None


def pack(pieces: Sequence[Piece], packing: Packing) -> tuple[list[Pack], dict[int, set[int]]]:
    """Packs rows.

    Args:
        pieces: The rows, whole (`bfd`: cut already).
        packing: How.

    Returns:
        The packs, those with the first rows in front; and for each row the places (from 0) whose token no
        earlier token of the pack predicts: they are not trained, whatever their label.
    """
    join = _wrapped if packing.strategy == "wrapped" else _best_fit_decreasing
    order = {id(p): number for number, p in enumerate(pieces)}
    packs: list[tuple[int, Pack]] = []
    heads: dict[int, set[int]] = defaultdict(set)
    for start in range(0, len(pieces), _GROUP_ROWS):
        group = [p for p in pieces[start : start + _GROUP_ROWS] if p.input_ids]
        first = {p.row: order[id(p)] for p in group}
        for parts in join(group, packing.length):
            made = Pack()
            for number, part in enumerate(parts):
                if not number or packing.keeps_apart:
                    heads[part.row].add(part.place)
                made.rows.append(part.row)
                made.lengths.append(len(part.input_ids))
                made.input_ids += part.input_ids
                made.labels += part.labels
            packs.append((min(first[row] for row in made.rows), made))
    packs.sort(key=lambda entry: entry[0])
    return [made for _, made in packs], heads


def _best_fit_decreasing(pieces: Sequence[Piece], length: int) -> Iterator[list[Piece]]:
    """Longest first, each into the pack with the least room that still holds it."""
    split = [part for piece in pieces for part in _parts(piece, length)]
    bins: list[list[Piece]] = []
    spaces: list[int] = []
    with_space: defaultdict[int, deque[list[Piece]]] = defaultdict(deque)
    for part in sorted(split, key=lambda p: -len(p.input_ids)):
        size = len(part.input_ids)
        at = bisect.bisect_left(spaces, size)
        if at < len(spaces):
            space = spaces[at]
            into = with_space[space].popleft()
            if not with_space[space]:
                del spaces[at]
        else:
            space, into = length, []
            bins.append(into)
        into.append(part)
        left = space - size
        if left:
            if not with_space[left]:
                bisect.insort(spaces, left)
            with_space[left].append(into)
    yield from bins


def _wrapped(pieces: Sequence[Piece], length: int) -> Iterator[list[Piece]]:
    parts: list[Piece] = []
    room = length
    for piece in pieces:
        place = 0
        while place < len(piece.input_ids):
            part = _part(piece, place, room)
            parts.append(part)
            place += len(part.input_ids)
            room -= len(part.input_ids)
            if not room:
                yield parts
                parts, room = [], length
    if parts:
        yield parts


def _parts(piece: Piece, length: int) -> Iterator[Piece]:
    for place in range(0, len(piece.input_ids), length):
        yield _part(piece, place, length)


def _part(piece: Piece, place: int, size: int) -> Piece:
    end = place + size
    return Piece(
        row=piece.row,
        place=piece.place + place,
        input_ids=piece.input_ids[place:end],
        labels=piece.labels[place:end],
    )

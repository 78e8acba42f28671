"""Entries of one run, each once, in order: launchers print a line per node, callbacks print it twice."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hotfire.logs.records import LogEntry

#: A repeated line comes soon after the first: the Trainer's own print, a callback's, another node's.
_NEAR = 16


def in_order(entries: Sequence[LogEntry]) -> tuple[list[LogEntry], list[str]]:
    """The entries of the last run, without repeats.

    Returns:
        The entries, and notes on what was done.
    """
    ranks = {entry.rank for entry in entries if entry.rank is not None}
    streams: dict[int | None, list[LogEntry]] = {}
    for entry in entries:
        streams.setdefault(entry.rank, []).append(entry)
    notes = []
    if len(streams) > 1:
        first, *others = sorted(streams, key=lambda rank: (rank is None, rank or 0))
        kept = _without_repeats(streams[first])
        for other in others:
            _merge(kept, _without_repeats(streams[other]))
        notes.append(
            f"{len(ranks)} ranks print entries; those of rank {first} are judged, with the NaN of the others"
        )
    else:
        kept = _without_repeats(list(entries))
    runs = _runs(kept)
    if len(runs) > 1:
        notes.append(f"the log holds {len(runs)} runs, one after the other; the last is judged")
    return (runs[-1] if runs else []), notes


def _key(entry: LogEntry) -> tuple[str, str, str]:
    """As text, so that NaN equals NaN."""
    return str(entry.epoch), str(entry.loss), str(entry.learning_rate)


def _same(one: LogEntry, other: LogEntry) -> bool:
    """Both of one key: are they one entry?"""
    if one.step is not None and other.step is not None:
        return one.step == other.step
    return one.epoch is not None and (
        str(one.grad_norm) == str(other.grad_norm) or None in (one.grad_norm, other.grad_norm)
    )


def _without_repeats(entries: list[LogEntry]) -> list[LogEntry]:
    kept: list[LogEntry] = []
    last: dict[tuple[str, str, str], int] = {}
    for entry in entries:
        key = _key(entry)
        at = last.get(key)
        twin = kept[at] if at is not None and len(kept) - at <= _NEAR else None
        if twin is None or not _same(twin, entry):
            last[key] = len(kept)
            kept.append(entry)
            continue
        # A callback's line may have less, or more.
        twin.grad_norm = entry.grad_norm if twin.grad_norm is None else twin.grad_norm
        twin.step = entry.step if twin.step is None else twin.step
        twin.num_overflows = max(twin.num_overflows, entry.num_overflows)
    return kept


def _merge(kept: list[LogEntry], others: list[LogEntry]) -> None:
    """What is not finite on any rank is not finite."""
    by_step = {entry.step: entry for entry in others if entry.step is not None}
    for index, entry in enumerate(kept):
        twin = (
            by_step.get(entry.step)
            if entry.step is not None
            else others[index]
            if index < len(others)
            else None
        )
        if twin is None:
            continue
        for name in ("loss", "grad_norm"):
            mine, theirs = getattr(entry, name), getattr(twin, name)
            if theirs is not None and not math.isfinite(theirs) and (mine is None or math.isfinite(mine)):
                setattr(entry, name, theirs)


def _runs(entries: list[LogEntry]) -> list[list[LogEntry]]:
    """Cut where the count begins again. A resumed job goes on counting and stays one run."""
    runs: list[list[LogEntry]] = []
    for entry in entries:
        before = runs[-1][-1] if runs else None
        restarted = before is not None and (
            entry.step < before.step
            if entry.step is not None and before.step is not None
            else entry.epoch is not None and before.epoch is not None and entry.epoch < before.epoch
        )
        if before is None or restarted:
            runs.append([])
        runs[-1].append(entry)
    return runs

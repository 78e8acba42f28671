"""Medians, and variants that take turns."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

V = TypeVar("V")


def spread(seconds: Sequence[float], digits: int = 2) -> str:
    """Median, minimum and maximum of some seconds."""
    middle = statistics.median(seconds)
    return f"{middle:.{digits}f} [{min(seconds):.{digits}f}, {max(seconds):.{digits}f}]"


def alternate(variants: Sequence[V], repeats: Iterable[int]) -> Iterator[tuple[int, V]]:
    """A B, B A, A B, ...: what drifts on the machine hits both alike."""
    for number in repeats:
        for variant in variants if number % 2 == 0 else reversed(variants):
            yield number, variant


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints columns."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        print("  " + "  ".join(cells).rstrip(), flush=True)


def heading(text: str) -> None:
    """Prints a part's name and how busy the machine is: other load makes everything below noisy."""
    print(f"\n== {text}\n   {load()}", flush=True)


def load() -> str:
    """How busy the machine is."""
    one, five, _ = os.getloadavg()
    return f"load average {one:.1f} (1 min), {five:.1f} (5 min) on {os.cpu_count()} cores"

"""Curves drawn with characters: braille dots in a terminal, one letter per series in plain text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.text import Text

from hotfire.render.text import number

_BRAILLE = 0x2800
# Bit of the dot at (x, y) within a braille cell of 2 x 4 dots.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(kw_only=True, slots=True)
class Series:
    """One curve."""

    name: str
    values: Sequence[float | None]
    """One per step from 1; None: not measured; non-finite values are marked below the axis."""
    style: str = ""
    letter: str = "*"
    """What it is drawn with in plain text."""


@dataclass(slots=True)
class _Grid:
    """Cells of the plot: which dots are set, and who set them first."""

    width: int
    height: int
    dots: dict[tuple[int, int], int] = field(default_factory=dict)
    owner: dict[tuple[int, int], Series] = field(default_factory=dict)

    def put(self, x: int, y: int, series: Series) -> None:
        """Sets the dot at x from the left, y from the top, in dots."""
        cell = (x // 2, y // 4)
        if not (0 <= cell[0] < self.width and 0 <= cell[1] < self.height):
            return
        owner = self.owner.setdefault(cell, series)
        if owner is series:
            self.dots[cell] = self.dots.get(cell, 0) | _DOTS[x % 2][y % 4]


def chart(
    title: str,
    series: Sequence[Series],
    *,
    width: int,
    height: int = 6,
    unicode: bool = True,
    peak_step: int | None = None,
    last_step: int | None = None,
) -> list[Text]:
    """Draws curves over the same steps.

    Args:
        title: Above the plot.
        series: The curves; where two meet, the first is seen.
        width: Columns of the whole, labels included.
        height: Rows of the plot.
        unicode: Braille and box characters; else ASCII.
        peak_step: First step of the peak phase; a dotted line stands before it.
        last_step: Number at the right end of the axis, where not every step has a value of its own.

    Returns:
        `height` + 3 lines of at most `width` columns.
    """
    finite = [v for s in series for v in s.values if v is not None and math.isfinite(v)]
    num_steps = max((len(s.values) for s in series), default=0)
    scale = _Scale(finite)
    labels = [number(scale.top, digits=3), number(scale.bottom, digits=3)] if finite else ["", ""]
    margin = max(len(label) for label in labels) + 1
    grid = _Grid(max(8, width - margin - 1), height)
    to_x = _x_of(num_steps, grid.width)
    for one in series:
        _draw(one, grid, scale, to_x)
    heading = Text(title + (" (log)" if scale.log else ""), style="bold", no_wrap=True)
    lines = [heading]
    bar, corner, flat, dotted = ("┤", "└", "─", "┊") if unicode else ("|", "+", "-", ":")
    peak_column = to_x(peak_step - 2) // 2 + 1 if peak_step is not None and peak_step > 1 else None
    for row in range(height):
        label = labels[0] if row == 0 else labels[1] if row == height - 1 else ""
        line = Text(f"{label:>{margin}}{bar}", style="dim", no_wrap=True)
        for column in range(grid.width):
            owner = grid.owner.get((column, row))
            if owner is not None:
                mark = chr(_BRAILLE + grid.dots[column, row]) if unicode else owner.letter
                line.append(mark, style=f"not dim {owner.style}".strip())
            elif column == peak_column:
                line.append(dotted)
            else:
                line.append(" ")
        lines.append(line)
    lines.append(_axis(grid, margin, corner, flat, last_step or num_steps, peak_step, peak_column))
    lines.append(_non_finite(series, grid, margin, to_x, unicode=unicode))
    return lines


class _Scale:
    """Values to 0 (bottom) .. 1 (top); logarithmic where the values span more than two decades."""

    def __init__(self, values: Sequence[float]) -> None:
        self.bottom, self.top = (min(values), max(values)) if values else (0.0, 1.0)
        self.log = self.bottom > 0 and math.log10(self.top) - math.log10(self.bottom) > 2

    def __call__(self, value: float) -> float:
        # Halves, because the span of two huge numbers may overflow.
        low, high, at = self.bottom / 2, self.top / 2, value / 2
        if self.log:
            low, high, at = math.log(self.bottom), math.log(self.top), math.log(value)
        if high <= low:
            return 0.5
        return min(1.0, max(0.0, (at - low) / (high - low)))


def _x_of(num_steps: int, width: int) -> Callable[[int], int]:
    """From a step's index to its dot from the left."""
    span = max(1, num_steps - 1)

    def to_x(index: int) -> int:
        return round(index * (2 * width - 1) / span) if num_steps > 1 else width

    return to_x


def _draw(series: Series, grid: _Grid, scale: _Scale, to_x: Callable[[int], int]) -> None:
    """A line from each finite value to the next; a gap is bridged where steps were only not measured."""
    last: tuple[int, int] | None = None
    bottom = 4 * grid.height - 1
    for index, value in enumerate(series.values):
        if value is None:
            continue
        if not math.isfinite(value):
            last = None
            continue
        point = (to_x(index), round((1 - scale(value)) * bottom))
        start = last or point
        num_dots = max(abs(point[0] - start[0]), abs(point[1] - start[1]), 1)
        for i in range(num_dots + 1):
            x = round(start[0] + (point[0] - start[0]) * i / num_dots)
            y = round(start[1] + (point[1] - start[1]) * i / num_dots)
            grid.put(x, y, series)
        last = point


def _axis(
    grid: _Grid,
    margin: int,
    corner: str,
    flat: str,
    num_steps: int,
    peak_step: int | None,
    peak_column: int | None,
) -> Text:
    cells = list(flat * grid.width)

    def write(text: str, column: int) -> None:
        column = max(0, min(column, grid.width - len(text)))
        cells[column : column + len(text)] = text

    if num_steps:
        write("1", 0)
        if num_steps > 1:
            write(str(num_steps), grid.width)
    if peak_column is not None and peak_step is not None and 4 < peak_column < grid.width - 10:
        write("peak lr", peak_column)
    return Text(" " * margin + corner + "".join(cells), style="dim", no_wrap=True)


def _non_finite(
    series: Sequence[Series], grid: _Grid, margin: int, to_x: Callable[[int], int], *, unicode: bool
) -> Text:
    """The line below the axis: a cross at every step whose value is NaN or infinite."""
    line = Text(" " * (margin + 1), no_wrap=True)
    marks: dict[int, Series] = {}
    for one in series:
        for index, value in enumerate(one.values):
            if value is not None and not math.isfinite(value):
                marks.setdefault(min(to_x(index) // 2, grid.width - 1), one)
    if not marks:
        return line
    for column in range(grid.width):
        owner = marks.get(column)
        line.append("×" if owner and unicode else "x" if owner else " ", style=owner.style if owner else "")
    names = sorted({one.name for one in marks.values()})
    text = f"{'×' if unicode else 'x'} NaN/inf: {', '.join(names)}"
    free = max((c for c in marks), default=0) + 2
    if grid.width - free > len(text):
        line = line[: margin + 1 + free]
        line.append(text, style="dim")
    return line


def sparkline(values: Sequence[float | None], *, unicode: bool = True) -> str:
    """A curve on one line; x where a value is not finite."""
    finite = [v for v in values if v is not None and math.isfinite(v)]
    if not unicode:
        return ""
    scale = _Scale(finite)
    marks = ""
    for value in values:
        if value is None:
            marks += " "
        elif not math.isfinite(value):
            marks += "×"
        else:
            marks += _BLOCKS[min(7, int(scale(value) * 7.999))]
    return marks


def bar(parts: Sequence[tuple[float, str]], total: float, *, width: int, unicode: bool = True) -> Text:
    """A horizontal bar of coloured parts.

    Args:
        parts: (amount, style) pairs.
        total: What the full width stands for.
        width: Columns.
        unicode: Block characters; else ASCII.
    """
    text = Text(no_wrap=True)
    letters = "#=+" if not unicode else "███"
    done, reached = 0, 0.0
    for i, (amount, style) in enumerate(parts):
        reached += amount
        end = min(width, round(reached / total * width)) if total > 0 else 0
        text.append(letters[i % 3] * (end - done), style=style)
        done = max(done, end)
    text.append(("░" if unicode else ".") * (width - done), style="dim")
    return text

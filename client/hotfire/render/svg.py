"""Curves as inline SVG: no script, no font, no file besides."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from hotfire.render.charts import Series
from hotfire.render.text import number

_WIDTH, _HEIGHT = 460, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 30
_MAX_DECADES = 2


def chart(title: str, series: Sequence[Series], *, peak_step: int | None = None) -> str:
    """An SVG element with one line per series; a cross at the top where a value is not finite.

    Args:
        title: For people who cannot see it.
        series: The curves; `style` is a CSS class.
        peak_step: First step of the peak phase.
    """
    finite = [v for s in series for v in s.values if v is not None and math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    logarithmic = low > 0 and math.log10(high / low) > _MAX_DECADES
    count = max((len(s.values) for s in series), default=1)

    def x(index: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (index / max(1, count - 1) if count > 1 else 0.5)

    def y(value: float) -> float:
        if high <= low:
            share = 0.5
        elif logarithmic:
            share = math.log(value / low) / math.log(high / low)
        else:
            share = (value / 2 - low / 2) / (high / 2 - low / 2)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
        f'<path class="axis" d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}"/>',
    ]
    if finite:
        for value in (low, high) if high > low else (low,):
            label = escape(number(value, digits=3))
            parts.append(f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{label}</text>')
    base = _HEIGHT - 10
    parts.append(f'<text x="{x(0):.1f}" y="{base}" text-anchor="middle">1</text>')
    if count > 1:
        parts.append(f'<text x="{x(count - 1):.1f}" y="{base}" text-anchor="end">step {count}</text>')
    if peak_step is not None and 1 < peak_step <= count:
        at = (x(peak_step - 2) + x(peak_step - 1)) / 2
        parts.append(f'<path class="peak" d="M{at:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text x="{at + 4:.1f}" y="{_TOP + 8}">peak lr</text>')
    for one in series:
        parts += _line(one, x, y)
    return "".join(parts) + "</svg>"


def _line(series: Series, x: Callable[[int], float], y: Callable[[float], float]) -> list[str]:
    parts, path, pen = [], "", "M"
    for index, value in enumerate(series.values):
        if value is None:
            continue
        if not math.isfinite(value):
            pen = "M"
            parts.append(f'<text class="{series.style} cross" x="{x(index):.1f}" y="{_TOP + 10}">×</text>')
            continue
        path += f"{pen}{x(index):.1f} {y(value):.1f}"
        parts.append(f'<circle class="{series.style}" cx="{x(index):.1f}" cy="{y(value):.1f}" r="2.2"/>')
        pen = "L"
    return [f'<path class="line {series.style}" d="{path}"/>', *parts] if path else parts

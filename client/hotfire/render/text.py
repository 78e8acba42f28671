"""Small texts: numbers, sizes, times, names of the contract's enums, and what is safe to print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hotfire import wire
from hotfire.v1 import preflight_pb2, report_pb2

_CONTROL = {code: chr(0x2400 + code) for code in range(32)} | {127: "\u2421"}
# A row's text must not move the cursor, recolour the terminal or reorder what stands around it.
_CONTROL |= dict.fromkeys((*range(128, 160), *range(8234, 8239), *range(8294, 8298)), "�")


def clean(text: str, *, keep_newlines: bool = False) -> str:
    """Text with every control character made visible."""
    table = _CONTROL
    if keep_newlines:
        table = {k: v for k, v in _CONTROL.items() if k not in (9, 10)}
    return text.translate(table)


def number(value: float | None, *, digits: int = 4) -> str:
    """2.3456, 1.2e-05, NaN; a dash if it was not measured."""
    if value is None:
        return "-"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        text = f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.{digits - 2}e}"


def share(value: float | None) -> str:
    """0.123 as "12.3 %"."""
    if value is None:
        return "-"
    if math.isnan(value) or math.isinf(value):
        return number(value)
    percent = value * 100
    if percent and abs(percent) < 0.01:
        return "< 0.01 %"
    return f"{percent:.{0 if percent in (0.0, 100.0) else 2 if abs(percent) < 1 else 1}f} %"


def size(value: int | None) -> str:
    """Bytes as "12.3 GiB"."""
    if value is None:
        return "-"
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def seconds(value: float | None) -> str:
    """12.34 as "12.3 s", 200 as "3 min 20 s"."""
    if value is None:
        return "-"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def enum_name(message: Any, field: str) -> str:
    """The name of a message's enum value without its prefix; "" if it is not set."""
    if not message.HasField(field):
        return ""
    descriptor = message.DESCRIPTOR.fields_by_name[field].enum_type
    value = descriptor.values_by_number.get(getattr(message, field))
    return str(value.name).removeprefix(wire.enum_prefix(descriptor)) if value is not None else "?"


def optional(message: Any, field: str) -> Any:
    """A field's value, or None if it is absent."""
    return getattr(message, field) if message.HasField(field) else None


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """1 trial, 2 trials."""
    return f"{count} {noun}" if count == 1 else f"{count} {nouns or noun + 's'}"


def value_text(value: Any, *, limit: int = 60) -> str:
    """A JSON-like value on one line, shortened."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, float):
        text = number(value)
    elif value is None:
        text = "null"
    elif isinstance(value, Sequence) and not isinstance(value, str):
        shown = ", ".join(value_text(v, limit=24) for v in list(value)[:6])
        text = f"[{shown}{', ...' if len(value) > 6 else ''}]"
    elif isinstance(value, dict):
        shown = ", ".join(f"{k}: {value_text(v, limit=24)}" for k, v in list(value.items())[:6])
        text = "{" + shown + (", ..." if len(value) > 6 else "") + "}"
    else:
        text = str(value)
    text = clean(text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def location_text(location: report_pb2.Location) -> str:
    """Where a finding points, from the outside in."""
    parts: list[str] = []
    if location.HasField("config_path"):
        place = location.config_path
        if location.HasField("line"):
            place += f" (line {location.line}{f':{location.column}' if location.HasField('column') else ''})"
        parts.append(place)
    elif location.HasField("line"):
        parts.append(f"line {location.line}{f':{location.column}' if location.HasField('column') else ''}")
    for field, noun in (
        ("trial", "trial"),
        ("step", "step"),
        ("rank", "rank"),
        ("micro_batch", "micro-batch"),
        ("row", "row"),
        ("parameter", "parameter"),
        ("module", "module"),
    ):
        if location.HasField(field):
            parts.append(f"{noun} {getattr(location, field)}")
    return clean(" · ".join(parts))


def duration_of(preflight: preflight_pb2.Preflight) -> float | None:
    """Seconds from its start to its end."""
    if not (preflight.HasField("start_time") and preflight.HasField("end_time")):
        return None
    return (preflight.end_time.ToNanoseconds() - preflight.start_time.ToNanoseconds()) / 1e9

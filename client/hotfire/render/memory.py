"""What every format says of the memory forecast: one line of words for each thing."""

from __future__ import annotations

from hotfire.render import text
from hotfire.v1 import report_pb2

COLUMNS = ("stage", "states", "activations", "buffers", "peak", "band", "of", "fits")


def placement(forecast: report_pb2.MemoryForecast) -> str:
    """Such as "ZeRO-2 +optimizer offload"."""
    name = f"ZeRO-{forecast.stage}"
    if forecast.offload not in ("", "none"):
        name += f" +{forecast.offload} offload"
    return text.clean(name)


def fit_words(forecast: report_pb2.MemoryForecast) -> tuple[str, str]:
    """(words, style): whether it fits, and whether the band leaves a doubt."""
    if not forecast.HasField("available_bytes"):
        return "", ""
    there = forecast.available_bytes
    if forecast.HasField("low_bytes") and forecast.low_bytes > there:
        return "does not fit", "bold red"
    if not forecast.HasField("activations_bytes"):
        return "length not known", "dim"
    if forecast.HasField("high_bytes") and forecast.low_bytes <= there < forecast.high_bytes:
        return ("tight", "yellow") if forecast.fits else ("likely not", "yellow")
    return ("fits", "green") if forecast.fits else ("does not fit", "bold red")


def band(forecast: report_pb2.MemoryForecast) -> str:
    """The low and the high end."""
    if not (forecast.HasField("low_bytes") and forecast.HasField("high_bytes")):
        return "-"
    low, high = text.size(forecast.low_bytes), text.size(forecast.high_bytes)
    unit = high.rpartition(" ")[2]
    return f"{low.removesuffix(f' {unit}')} - {high}"


def cells(forecast: report_pb2.MemoryForecast) -> list[str]:
    """One row for `COLUMNS`."""
    return [
        placement(forecast),
        *(
            text.size(text.optional(forecast, field))
            for field in ("states_bytes", "activations_bytes", "buffers_bytes", "total_bytes")
        ),
        band(forecast),
        text.size(text.optional(forecast, "available_bytes")),
        fit_words(forecast)[0] or "-",
    ]


def notes(report: report_pb2.MemoryReport) -> list[str]:
    """What stands below the table."""
    available = max((s.available_bytes for s in report.stages), default=0)
    lines = [f"of {text.size(available)} available"] if available else []
    if report.HasField("largest_micro_batch_size"):
        lines.append(f"largest micro-batch that fits: {report.largest_micro_batch_size}")
    if report.HasField("host_bytes"):
        lines.append(f"memory of one host: {text.size(report.host_bytes)}")
    if report.calibrated_on:
        lines.append(f"calibrated on {text.clean(report.calibrated_on)}")
    return lines

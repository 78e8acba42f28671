"""Structured logs on stderr. Messages of requests never reach them, so no row text does either."""

from __future__ import annotations

import logging
import sys
import traceback

import structlog


def configure(level: str, style: str) -> None:
    """Sets structlog up for this process.

    Args:
        level: "debug", "info", "warning" or "error".
        style: "json" (one object a line) or "console".
    """
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if style == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def frames(error: BaseException) -> list[str]:
    """Where an exception came from, as `file:line function`, without its text (which may quote a row)."""
    return [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]

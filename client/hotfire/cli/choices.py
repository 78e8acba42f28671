"""Values of options that have a few. Without typer: what `hotfire lint FILE` imports."""

from __future__ import annotations

import enum


class Format(enum.StrEnum):
    """How a result is written."""

    PRETTY = "pretty"
    JSON = "json"
    JUNIT = "junit"
    SARIF = "sarif"
    GITHUB = "github"
    MARKDOWN = "markdown"
    HTML = "html"


class PlainFormat(enum.StrEnum):
    """How a list is written."""

    PRETTY = "pretty"
    JSON = "json"


class FailOn(enum.StrEnum):
    """What makes the exit code 1."""

    ERROR = "error"
    WARN = "warn"


class LoopName(enum.StrEnum):
    """Training loops."""

    TRAINER = "trainer"
    ACCELERATE = "accelerate"
    DEEPSPEED = "deepspeed"

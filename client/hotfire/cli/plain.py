"""`hotfire lint` without typer, as commit hooks and editors call it.

typer 0.29 takes 0.2 to 0.3 s to start (it makes a pydantic schema of every option), the lint itself a few
milliseconds. So a command line in which nothing is unusual is read here; whatever is (help, an unknown option, a
value that does not fit) is left to typer, which says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hotfire.cli.choices import FailOn, Format, LoopName
from hotfire.cli.guard import guarded


def _at_least(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ValueError(text)
        return int(text)

    return read


OPTIONS: dict[str, Callable[[str], Any]] = {
    "training": str,
    "model": Path,
    "num-gpus": _at_least(1),
    "num-nodes": _at_least(1),
    "gpu-memory": str,
    "num-train-rows": _at_least(0),
    "loop": LoopName,
    "deepspeed-version": str,
    "fail-on": FailOn,
    "format": Format,
    "output": Path,
}
"""Name -> how its value is read; a ValueError leaves the whole command line to typer."""
FLAGS = ("show-effective", "fix", "diff", "verbose")
_OF_OUTPUT = ("format", "output", "verbose")


def read(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]] | None:
    """The files and the options of a `lint` command line; None: it is for typer."""
    if not arguments or arguments[0] != "lint":
        return None
    files: list[str] = []
    options: dict[str, Any] = {}
    rest = iter(arguments[1:])
    for argument in rest:
        if not argument.startswith("-"):
            files.append(argument)
            continue
        name, equals, value = argument.removeprefix("--").partition("=")
        if argument == "-v" or (name in FLAGS and not equals and argument.startswith("--")):
            options["verbose" if argument == "-v" else name] = True
            continue
        if name not in OPTIONS or not argument.startswith("--") or name in options:
            return None
        text = value if equals else next(rest, "-")
        if text.startswith("-"):
            return None
        try:
            options[name] = OPTIONS[name](text)
        except ValueError:
            return None
    return (files, {name.replace("-", "_"): value for name, value in options.items()}) if files else None


def run(files: Sequence[str], options: dict[str, Any]) -> int:
    """Lints the files; returns the exit code."""

    def lint() -> int:
        from hotfire.cli import linting
        from hotfire.cli.output import Output

        output = Output(
            options.get("format", Format.PRETTY), options.get("output"), verbose=options.get("verbose", False)
        )
        request = {name: value for name, value in options.items() if name not in _OF_OUTPUT}
        return linting.lint(files, output, linting.Request(**request))

    return guarded(lint, as_json=options.get("format") == Format.JSON)

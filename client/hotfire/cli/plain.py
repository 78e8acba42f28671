"""`hotfire lint FILE...` without options, as commit hooks call it: the same command without typer.

typer 0.29 takes 0.2 to 0.3 s to start (it makes a pydantic schema of every option), the lint itself a few
milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from hotfire.cli.guard import guarded


def is_plain(arguments: Sequence[str]) -> bool:
    """Whether these arguments are `lint` and nothing but files."""
    return len(arguments) > 1 and arguments[0] == "lint" and not any(a.startswith("-") for a in arguments)


def run(files: Sequence[str]) -> int:
    """Lints the files; returns the exit code."""

    def lint() -> int:
        from hotfire.cli import linting
        from hotfire.cli.output import Output

        return linting.lint(files, Output(), linting.Request())

    return guarded(lint, as_json=False)

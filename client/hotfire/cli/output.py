"""Where results and errors go: results to standard output or a file, everything else to standard error."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import IO

from google.protobuf.message import Message
from rich.console import Console, RenderableType
from rich.text import Text

from hotfire.errors import HotfireError, SettingsError
from hotfire.render import formats
from hotfire.render import json as json_render
from hotfire.render.frame import Look
from hotfire.render.places import Sources
from hotfire.render.result import Result
from hotfire.render.text import clean
from hotfire.v1 import preflight_pb2

_PLAIN_WIDTH = 100


class Output:
    """One command's output."""

    def __init__(self, format_: str = "pretty", path: Path | None = None, *, verbose: bool = False) -> None:
        self.format = str(format_)
        self.sources = Sources()
        """The files of the job, where they are known: findings then have a line in them."""
        self._path = path
        self._verbose = verbose
        self.errors = console(stderr=True)

    @property
    def to_file(self) -> bool:
        """It goes to one file, not to standard output."""
        return self._path is not None

    def preflight(self, preflight: preflight_pb2.Preflight, *, ephemeral: bool = False) -> None:
        """Writes a report, or what stands in its place."""
        if self.format == "json":
            self.text(json_render.render(preflight))
        elif self.format in formats.TEXT_FORMATS:
            self.text(formats.render(self.format, Result.of(preflight, self.sources)))
        elif self._path is not None:
            from hotfire.render import pretty

            self.text(pretty.render(preflight, width=_PLAIN_WIDTH, verbose=self._verbose))
        else:
            from hotfire.render import pretty

            out = console()
            look = Look.of(out)
            built = pretty.build(preflight, look, verbose=self._verbose, ephemeral=ephemeral)
            _print(out, built, width=look.width)

    def message(self, message: Message, pretty: RenderableType | None = None) -> None:
        """Writes an answer: as JSON, or as what it is for people."""
        if self.format == "json" or pretty is None:
            self.text(json_render.render(message))
        else:
            self.show(pretty)

    def show(self, item: RenderableType) -> None:
        """Writes something for people."""
        if self._path is None:
            _print(console(), item)
            return
        with self._open() as file:
            file.write(_plain(item, _PLAIN_WIDTH))

    def text(self, text: str) -> None:
        """Writes text as it is."""
        if self._path is None:
            sys.stdout.write(text)
            sys.stdout.flush()
            return
        with self._open() as file:
            file.write(text)

    def hint(self, message: str, style: str = "dim") -> None:
        """Says something beside the result."""
        self.errors.print(Text(message, style=style), soft_wrap=True)

    def _open(self) -> IO[str]:
        assert self._path is not None
        try:
            return self._path.open("w", encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"--output {self._path}: {error.strerror or error}") from None


def console(*, stderr: bool = False) -> Console:
    """A console of ours: no guessing of what a number might be, and a fixed width when piped."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal and made.width == 80:
        made.width = _PLAIN_WIDTH
    return made


def _print(out: Console, item: RenderableType, *, width: int | None = None) -> None:
    if out.is_terminal:
        out.print(item, width=width)
    else:
        sys.stdout.write(_plain(item, width or out.width))
        sys.stdout.flush()


def _plain(item: RenderableType, width: int) -> str:
    """As text, without the blanks that fill up lines."""
    buffer = io.StringIO()
    Console(file=buffer, width=width, no_color=True, highlight=False, markup=False, emoji=False).print(item)
    return "".join(line.rstrip() + "\n" for line in buffer.getvalue().splitlines())


def print_error(error: HotfireError, *, as_json: bool) -> None:
    """An error, all of it: for people on standard error, for programs on standard output."""
    text = Text("error: ", style="bold red")
    text.append(clean(error.message, keep_newlines=True), style="not bold default")
    for violation in error.unsaid:
        text.append("\n  ")
        if violation.line is not None:
            text.append(f"line {violation.line}  ", style="dim")
        text.append(clean(violation.field) or "(the whole)", style="bold cyan")
        if violation.value is not None:
            text.append(f" = {clean(violation.value)}", style="default")
        text.append(f": {clean(violation.description)}", style="not bold default")
    console(stderr=True).print(text, soft_wrap=True)
    if as_json:
        sys.stdout.write(json_render.render_error(error))
        sys.stdout.flush()

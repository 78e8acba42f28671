"""The report in a terminal: verdict and cause first, then what to change, then the evidence."""

from __future__ import annotations

import io
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from hotfire.render import evidence, findings, frame
from hotfire.render.frame import Look
from hotfire.render.view import View
from hotfire.v1 import preflight_pb2


def build(
    preflight: preflight_pb2.Preflight, look: Look, *, verbose: bool = False, ephemeral: bool = False
) -> Group:
    """The report as something rich can print.

    Args:
        preflight: The record.
        look: What the output can show.
        verbose: Everything.
        ephemeral: The server is gone when this is read: no hints that need it.
    """
    return Group(*_sections(View(preflight, ephemeral), look, verbose=verbose))


def render(
    preflight: preflight_pb2.Preflight,
    *,
    width: int = 100,
    color: bool = False,
    unicode: bool = False,
    verbose: bool = False,
) -> str:
    """The report as text.

    Args:
        preflight: The record.
        width: Columns.
        color: With ANSI colours.
        unicode: With braille and box characters; else ASCII (texts of the report are left as they are).
        verbose: Everything.
    """
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        no_color=not color,
        color_system="truecolor" if color else None,
        highlight=False,
        legacy_windows=False,
    )
    console.print(build(preflight, Look(width=width, color=color, unicode=unicode), verbose=verbose))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _sections(view: View, look: Look, *, verbose: bool) -> Iterator[RenderableType]:
    yield frame.banner(view, look)
    if not view.preflight.HasField("report"):
        yield from _no_report(view, look)
        return
    for title, body in (
        ("What to change", findings.remedy(view, look)),
        ("Curves", evidence.curves(view, look)),
        ("Parameters", evidence.groups(view, look)),
        ("ZeRO", evidence.zero(view, look)),
        ("What the model sees", evidence.data(view, look, verbose=verbose)),
        ("Findings", findings.details(view, look, verbose=verbose)),
        ("Memory per GPU on the target cluster", evidence.memory(view, look)),
        ("Trials", evidence.trials(view, look, verbose=verbose)),
        ("Checks", findings.checks(view, look, verbose=verbose)),
        ("Environment", evidence.environment(view, look, verbose=verbose)),
    ):
        if body is not None:
            yield frame.heading(title, look)
            yield Padding(body, (0, 0, 0, 2))
    yield frame.footer(view, look)


def _no_report(view: View, look: Look) -> Iterator[RenderableType]:
    details = [*view.preflight.error.details] if view.preflight.HasField("error") else []
    if details:
        yield Padding(Text("\n".join(frame.status_lines(details)), style="dim"), (0, 0, 0, 2))
    yield frame.footer(view, look)

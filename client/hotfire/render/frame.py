"""The frame of the terminal report: banner, headings, footer, and what fits the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from hotfire.render.text import clean
from hotfire.render.view import View

VERDICT_STYLES = {"PASS": "green", "WARN": "yellow", "FAIL": "red", "INCONCLUSIVE": "magenta"}
SEVERITY_STYLES = {"ERROR": "red", "WARNING": "yellow", "INFO": "blue"}
OUTCOME_STYLES = {"TRAINS": "green", "NOT_EXERCISED": "magenta", "": "dim"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What the output can show."""

    width: int
    color: bool
    unicode: bool

    @classmethod
    def of(cls, console: Console) -> Look:
        """As the console can: a pipe gets plain ASCII drawings and no colour."""
        encoding = (console.encoding or "").lower()
        terminal = console.is_terminal
        return cls(
            width=min(console.width, 120),
            color=terminal and console.color_system is not None and not console.no_color,
            unicode=terminal and encoding.startswith("utf"),
        )

    def sign(self, name: str) -> str:
        """A small mark: ok, bad, warn, info, skip, arrow."""
        unicode, ascii_ = {
            "ok": ("✔", "+"),
            "bad": ("✘", "x"),
            "warn": ("▲", "!"),
            "info": ("●", "i"),
            "skip": ("○", "-"),
            "arrow": ("→", "->"),
            "dot": ("·", "-"),
        }[name]
        return unicode if self.unicode else ascii_

    def fit(self, text: str) -> str:
        """A text of ours in the characters the output has."""
        if self.unicode:
            return text
        return text.replace("→", "->").replace("·", "-").replace("×", "x").replace("—", "-")


def banner(view: View, look: Look) -> RenderableType:
    """Verdict and cause."""
    style = VERDICT_STYLES.get(view.verdict, "magenta")
    sign = look.sign({"PASS": "ok", "WARN": "warn", "FAIL": "bad"}.get(view.verdict, "info"))
    badge = Text(f" {sign} {view.verdict} ", style=f"bold reverse {style}" if look.color else "bold")
    facts = look.fit("  ·  ".join(view.facts()))
    if not look.color and not look.unicode:
        head = Text(f"{view.verdict}: ", style="bold")
        head.append(look.fit(view.headline))
        lines = Text("\n").join([head, Text(facts)] if facts else [head])
        return Panel(lines, box=box.ASCII, width=look.width, padding=(0, 1))
    return Panel(
        Text(look.fit(view.headline), style="bold"),
        title=badge,
        title_align="left",
        subtitle=Text(facts, style="dim") if facts else None,
        subtitle_align="right",
        border_style=style,
        box=box.ROUNDED if look.unicode else box.ASCII,
        width=look.width,
        padding=(1, 2),
    )


def heading(title: str, look: Look) -> RenderableType:
    """A section's title, with an empty line before it."""
    if look.unicode:
        rule = Rule(Text(title, style="bold"), align="left", style="bright_black", characters="─")
        return _below_blank(rule)
    return Text(f"\n== {title} " + "=" * max(0, look.width - len(title) - 4), style="bold")


def _below_blank(item: RenderableType) -> RenderableType:
    from rich.padding import Padding

    return Padding(item, (1, 0, 0, 0))


def footer(view: View, look: Look) -> RenderableType:
    """Where to read on."""
    hints = []
    if view.report.findings:
        hints.append((f"hotfire rules {view.report.findings[0].rule}", "explains the first finding"))
    if view.preflight.name and not view.ephemeral:
        name = view.preflight.name.removeprefix("preflights/")
        hints.append((f"hotfire get {name} --format json", "has all of it"))
    text = Text()
    for command, what in hints:
        text.append(f"\n{look.sign('arrow')} {command}", style="bold")
        text.append(f"  {what}", style="dim")
    return text


#: A line below the head and nothing else, in ASCII.
_ASCII_HEAD = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def table(look: Look) -> Table:
    """A table in the house style."""
    return Table(
        box=box.SIMPLE_HEAD if look.unicode else _ASCII_HEAD,
        show_edge=False,
        pad_edge=False,
        header_style="bold",
        collapse_padding=False,
        padding=(0, 1) if look.width >= 90 else (0, 1, 0, 0),
    )


def status_lines(details: Iterable[Any]) -> list[str]:
    """The readable parts of a google.rpc.Status' details."""
    from google.rpc import error_details_pb2

    lines: list[str] = []
    for detail in details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            metadata = ", ".join(f"{k}={v}" for k, v in info.metadata.items())
            lines.append(clean(f"{info.reason} {metadata}".strip()))
        elif detail.Unpack(bad):
            lines += [clean(f"{v.field}: {v.description}") for v in bad.field_violations]
    return lines

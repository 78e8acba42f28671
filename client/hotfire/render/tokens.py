"""A row as the model sees it: every token, the trained ones marked, control tokens visible."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.text import Text

from hotfire.render.text import clean, plural
from hotfire.v1 import report_pb2

_SPECIAL = re.compile(r"<\|[^|]*\|>|\[[A-Za-z_]+\]|<[a-z_/]+>|<｜[^｜]*｜>")
TRAINED, UNTRAINED, SPECIAL = "bold green", "dim", "cyan"


def summary(sample: report_pb2.Sample) -> str:
    """`row 3 · longest row · 64 tokens, 12 trained`."""
    trained = sum(token.trained for token in sample.tokens)
    parts = [
        f"row {sample.row}",
        clean(sample.why),
        f"{plural(len(sample.tokens), 'token')}, {trained} trained",
    ]
    return " · ".join(part for part in parts if part)


def draw(sample: report_pb2.Sample, *, color: bool, unicode: bool, max_chars: int = 640) -> Text:
    """The row's text.

    Args:
        sample: The row.
        color: Trained tokens are green; without colour they stand in [[double brackets]].
        unicode: Use a return symbol for line ends.
        max_chars: The middle of a longer row is left out (of a run of one kind, its own middle).
    """
    newline = "⏎" if unicode else "\\n"
    runs = list(_runs(sample, newline))
    shown = _shorten(runs, max_chars)
    text = Text()
    for trained, content in shown:
        style = TRAINED if trained else UNTRAINED
        if trained and not color:
            text.append(f"[[{content}]]")
            continue
        start = len(text)
        text.append(content, style=style)
        for match in _SPECIAL.finditer(content):
            text.stylize(
                f"{SPECIAL} {'bold not dim' if trained else 'not dim'}",
                start + match.start(),
                start + match.end(),
            )
    return text


def _runs(sample: report_pb2.Sample, newline: str) -> Iterator[tuple[bool, str]]:
    """Neighbouring tokens of one kind, joined."""
    kind: bool | None = None
    buffer = ""
    for token in sample.tokens:
        content = token.text if token.HasField("text") else f"<{token.id}>"
        content = clean(content, keep_newlines=True).replace("\n", newline).replace("\t", " ")
        if token.trained is not kind and buffer:
            yield bool(kind), buffer
            buffer = ""
        kind = token.trained
        # One character of several bytes may be several tokens, none of which has a text alone.
        buffer += content.lstrip("\ufffd") if buffer.endswith("\ufffd") else content
    if buffer:
        yield bool(kind), buffer


def _shorten(runs: list[tuple[bool, str]], max_chars: int) -> list[tuple[bool, str]]:
    """Cuts the middle of long runs, and the middle runs if there are still too many."""
    total = sum(len(content) for _, content in runs)
    if total <= max_chars:
        return runs
    each = max(40, max_chars // max(1, len(runs)))
    cut = [
        (kind, content if len(content) <= each else f"{content[: each // 2]} ... {content[-(each // 2) :]}")
        for kind, content in runs
    ]
    most = max(4, max_chars // each)
    if len(cut) > most:
        cut = [
            *cut[: most // 2],
            (False, f" ... {len(cut) - most} more stretches ... "),
            *cut[-(most // 2) :],
        ]
    return cut

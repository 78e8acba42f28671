"""Lists: preflights, pools, rules, and a rule's page."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from hotfire.render import text
from hotfire.render.frame import SEVERITY_STYLES, VERDICT_STYLES
from hotfire.rules.engine import find_rule
from hotfire.rules.page import body
from hotfire.v1 import preflight_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2


def preflights(found: Sequence[preflight_pb2.Preflight], *, now_s: float) -> RenderableType:
    """One line each."""
    if not found:
        return Text("none", style="dim")
    table = _table()
    for name in ("id", "state", "verdict", "age"):
        table.add_column(name, no_wrap=True)
    # The headline alone gives way: an id that is cut cannot be used.
    table.expand = True
    table.add_column("headline", overflow="ellipsis", no_wrap=True, ratio=1)
    for preflight in found:
        verdict = text.enum_name(preflight.report, "verdict")
        labels = " ".join(f"{k}={v}" for k, v in sorted(preflight.labels.items()))
        headline = Text(text.clean(preflight.report.headline))
        if labels:
            headline = Text(text.clean(labels) + "  ", style="cyan").append_text(headline)
        age = now_s - preflight.create_time.ToNanoseconds() / 1e9
        table.add_row(
            text.clean(preflight.name.removeprefix("preflights/")),
            text.enum_name(preflight, "state").lower(),
            Text(verdict or "-", style=VERDICT_STYLES.get(verdict, "dim")),
            _age(age) if preflight.HasField("create_time") else "-",
            headline,
        )
    return table


def pools(found: Sequence[service_pb2.Pool]) -> RenderableType:
    """One line each."""
    if not found:
        return Text("no worker has come up yet", style="dim")
    table = _table()
    for name in ("pool", "device"):
        table.add_column(name, no_wrap=True)
    for name in ("workers", "devices/slot", "free", "busy", "queued", "running"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("versions")
    for pool in found:
        versions = ", ".join(f"{k} {v}" for k, v in sorted(pool.versions.items()))
        table.add_row(
            text.clean(pool.name),
            text.clean(pool.device),
            *(
                str(n)
                for n in (
                    pool.num_workers,
                    pool.num_devices_per_slot,
                    pool.num_slots_free,
                    pool.num_slots_busy,
                    pool.num_queued,
                    pool.num_running,
                )
            ),
            Text(text.clean(versions), style="dim"),
        )
    return table


def rules(found: Sequence[service_pb2.Rule]) -> RenderableType:
    """One line each."""
    table = _table()
    table.add_column("id", no_wrap=True)
    table.add_column("rule", no_wrap=True)
    table.add_column("severity", no_wrap=True)
    table.add_column("what it finds")
    for rule in found:
        severity = text.enum_name(rule, "severity")
        table.add_row(
            rule.id,
            Text(rule.name, style="bold"),
            Text(severity.lower(), style=SEVERITY_STYLES.get(severity, "")),
            rule.summary,
        )
    return table


def rule_page(rule: service_pb2.Rule) -> RenderableType:
    """A rule's documentation."""
    severity = text.enum_name(rule, "severity")
    head = Text(f"{rule.name}", style="bold")
    head.append(f"  {rule.id}  {rule.category}  ", style="not bold dim")
    head.append(severity.lower(), style=SEVERITY_STYLES.get(severity, ""))
    known = find_rule(rule.id)
    summary = rule.documentation.partition("\n")[0]
    page = f"{summary}\n\n{body(known)}" if known is not None else rule.documentation
    return Group(head, Text(""), Markdown(page))


def _table() -> Table:
    return Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))


def _age(seconds: float) -> str:
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{max(0, seconds) / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} d"

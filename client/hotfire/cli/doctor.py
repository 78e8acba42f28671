"""`hotfire doctor`: is everything here that `--local`, `worker` and `serve` need?"""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hotfire import doctor as doctors
from hotfire.cli import exits, options
from hotfire.cli.output import Output, console
from hotfire.doctor.check import Check, State
from hotfire.doctor.run import worst
from hotfire.render import json as json_render
from hotfire.render.frame import Look
from hotfire.render.text import clean

_SIGNS = {State.OK: "ok", State.WARNING: "warn", State.PROBLEM: "bad", State.NOT_APPLICABLE: "info"}
_STYLES = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "red", State.NOT_APPLICABLE: "dim"}


def doctor(
    format_: options.PlainFormatOption = options.PlainFormat.PRETTY,
    output: options.Output = None,
) -> int:
    """Check this machine: libraries, Redis, compiler, locks, memory, GPUs, settings, leftovers.

    Exit code: 0 no problem (warnings there may be), 1 a problem.
    """
    out = Output(format_, output)
    checks = doctors.examine()
    state = worst(checks)
    if out.format == "json":
        out.text(json_render.render_data({"state": state.value, "checks": [c.to_dict() for c in checks]}))
    else:
        out.show(_table(checks, Look.of(console())))
    return exits.FAILED if state is State.PROBLEM else exits.OK


def _table(checks: list[Check], look: Look) -> RenderableType:
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    for check in checks:
        style = _STYLES[check.state]
        body = Text(clean(look.fit(check.message)))
        if check.remedy:
            body.append(f"\n{look.sign('arrow')} {clean(look.fit(check.remedy))}", style="cyan")
        rows.add_row(Text(f"{look.sign(_SIGNS[check.state])} {check.name}", style=style), body)
    counts = {state: sum(check.state is state for check in checks) for state in State}
    said = [_counted(count, state) for state, count in counts.items() if count]
    return Group(rows, Text(f"\n{', '.join(said)}", style="bold"))


def _counted(count: int, state: State) -> str:
    many = count != 1 and state in (State.PROBLEM, State.WARNING)
    return f"{count} {state.value}{'s' if many else ''}"

"""What happens while a preflight runs: a live display on a terminal, one plain line per event otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from hotfire.render import charts, text
from hotfire.render.frame import OUTCOME_STYLES, SEVERITY_STYLES, Look
from hotfire.render.view import OUTCOME_WORDS
from hotfire.v1 import preflight_pb2, report_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2

PHASES = {
    "queued": "waiting for a worker",
    "prepare": "reading model and data",
    "trial": "training",
    "rules": "judging",
    "fixes": "trying fixes",
    "report": "writing the report",
}
_ROLES = {
    report_pb2.ROLE_CANDIDATE: "as submitted",
    report_pb2.ROLE_REFERENCE: "plain PyTorch",
    report_pb2.ROLE_STAGE: "another ZeRO stage",
    report_pb2.ROLE_BISECT: "searching the guilty key",
    report_pb2.ROLE_FIX: "trying a fix",
    report_pb2.ROLE_DRILL: "save and reload",
}
_REFRESH_HZ = 10


class Progress(Protocol):
    """Something that is told every event."""

    def event(self, event: service_pb2.WatchPreflightResponse) -> None:
        """Takes one event."""

    def note(self, message: str) -> None:
        """Says something that is not an event."""

    def start(self) -> None:
        """Starts showing."""

    def stop(self) -> None:
        """Stops showing; may be called again."""


def make(console: Console, *, quiet: bool = False) -> Progress:
    """The display that fits the console."""
    if quiet:
        return Silent()
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


class Silent:
    """Shows nothing."""

    def event(self, event: service_pb2.WatchPreflightResponse) -> None:
        """Does nothing."""

    def note(self, message: str) -> None:
        """Does nothing."""

    def start(self) -> None:
        """Does nothing."""

    def stop(self) -> None:
        """Does nothing."""


class PlainProgress(Silent):
    """One line per event, with the seconds since the start."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._start = clock()

    def event(self, event: service_pb2.WatchPreflightResponse) -> None:
        """Prints one line, unless there is nothing to say."""
        if line := describe(event):
            self.note(line)

    def note(self, message: str) -> None:
        """Prints one line."""
        self._console.print(
            Text(f"[{self._clock() - self._start:6.1f}s] {message}"), soft_wrap=True, highlight=False
        )


class LiveProgress(Silent):
    """The trials so far with their loss curves, the running one with its step, and a spinner."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._look = Look.of(console)
        self._start = time.monotonic()
        self._trials: dict[str, _Row] = {}
        self._phase = "connecting"
        self._findings: list[report_pb2.Finding] = []
        self._notes: list[str] = []
        self._spinner = Spinner("dots" if self._look.unicode else "line", style="cyan")
        self._live = Live(
            get_renderable=self._draw, console=console, refresh_per_second=_REFRESH_HZ, transient=True
        )

    def start(self) -> None:
        """Starts drawing."""
        self._live.start()

    def stop(self) -> None:
        """Stops drawing and leaves nothing behind: the report follows."""
        self._live.stop()

    def note(self, message: str) -> None:
        """Shows it beside the spinner."""
        self._phase = message

    def event(self, event: service_pb2.WatchPreflightResponse) -> None:
        """Takes one event into the picture."""
        match event.WhichOneof("event"):
            case "state":
                self._phase = text.enum_name(event.state, "state").lower()
            case "progress":
                phase = event.progress.phase
                self._phase = text.clean(event.progress.message) or PHASES.get(phase, phase)
            case "trial_started":
                trial = event.trial_started.trial
                self._trials[trial.name] = _Row(trial, event.trial_started.num_steps)
                self._phase = _ROLES.get(trial.role, "training")
            case "step":
                row = self._trials.get(event.step.trial)
                if row is not None:
                    row.losses.append(text.optional(event.step.step, "loss"))
            case "trial_finished":
                trial = event.trial_finished.trial
                row = self._trials.setdefault(trial.name, _Row(trial, 0))
                row.outcome = text.enum_name(trial, "outcome") or "NONE"
            case "finding":
                self._findings.append(event.finding.finding)
            case "log":
                self._phase = text.clean(event.log.message)
            case "reset":
                self._trials.clear()
                self._findings.clear()

    def _draw(self) -> RenderableType:
        grid = Table.grid(padding=(0, 2, 0, 0))
        for row in list(self._trials.values())[-10:]:
            grid.add_row(*row.cells(self._look))
        status = Table.grid(padding=(0, 1, 0, 0))
        elapsed = f"{time.monotonic() - self._start:.0f} s"
        status.add_row(self._spinner, Text(self._phase, style="bold"), Text(elapsed, style="dim"))
        parts: list[RenderableType] = [grid] if self._trials else []
        for finding in self._findings[-4:]:
            parts.append(_finding_line(finding, self._look))
        return Group(*parts, status)


class _Row:
    """One trial in the display."""

    def __init__(self, trial: report_pb2.Trial, num_steps: int) -> None:
        self.name = text.clean(trial.name)
        self.role = _ROLES.get(trial.role, "")
        self.num_steps = num_steps
        self.losses: list[float | None] = []
        self.outcome = ""

    def cells(self, look: Look) -> list[Text]:
        """Sign, name, curve, last loss, outcome or step."""
        if self.outcome:
            style = OUTCOME_STYLES.get(self.outcome, "red")
            sign = look.sign("ok" if self.outcome == "TRAINS" else "bad")
            what = Text(OUTCOME_WORDS.get(self.outcome, self.outcome.lower()), style=style)
        else:
            style, sign = "cyan", look.sign("info")
            what = Text(
                f"step {len(self.losses)}{f'/{self.num_steps}' if self.num_steps else ''}", style=style
            )
        curve = charts.sparkline(self.losses[-24:], unicode=look.unicode)
        last = text.number(self.losses[-1]) if self.losses else ""
        return [
            Text(sign, style=style),
            Text(self.name, style="bold"),
            Text(self.role, style="dim"),
            Text(curve, style=style),
            Text(f"loss {last}" if last else "", style="dim"),
            what,
        ]


def _finding_line(finding: report_pb2.Finding, look: Look) -> Text:
    severity = text.enum_name(finding, "severity")
    style = SEVERITY_STYLES.get(severity, "")
    sign = look.sign({"ERROR": "bad", "WARNING": "warn"}.get(severity, "info"))
    line = Text(f"{sign} {finding.rule}: ", style=style)
    line.append(text.clean(finding.message))
    line.truncate(look.width, overflow="ellipsis")
    return line


def describe(event: service_pb2.WatchPreflightResponse) -> str:
    """One event in one line; "" if it says nothing to people."""
    match event.WhichOneof("event"):
        case "state":
            state = text.enum_name(event.state, "state").lower()
            verdict = text.enum_name(event.state.preflight.report, "verdict")
            return f"state {state}" + (f", verdict {verdict}" if verdict else "")
        case "progress":
            # The trial's own events say more.
            return "" if event.progress.phase == "trial" else _progress_line(event.progress)
        case "trial_started":
            trial = event.trial_started.trial
            return f"trial {text.clean(trial.name)} started ({_ROLES.get(trial.role, 'trial')})"
        case "step":
            return _step_line(event.step)
        case "trial_finished":
            trial = event.trial_finished.trial
            outcome = text.enum_name(trial, "outcome")
            error = f": {text.clean(trial.error.type)}" if trial.HasField("error") else ""
            return f"trial {text.clean(trial.name)} {OUTCOME_WORDS.get(outcome, outcome.lower())}{error}"
        case "finding":
            finding = event.finding.finding
            severity = text.enum_name(finding, "severity").lower()
            return f"{severity} {finding.rule}: {text.clean(finding.message)}"
        case "log":
            return text.clean(event.log.message)
        case "reset":
            return "events before this were not kept"
    return ""


def _progress_line(progress: preflight_pb2.Progress) -> str:
    parts = [PHASES.get(progress.phase, progress.phase)]
    if progress.trial:
        parts.append(progress.trial)
    if progress.HasField("step"):
        parts.append(f"step {progress.step}" + (f"/{progress.num_steps}" if progress.num_steps else ""))
    if progress.message:
        parts.append(progress.message)
    return text.clean(", ".join(part for part in parts if part))


def _step_line(event: preflight_pb2.StepEvent) -> str:
    step = event.step
    norm = text.optional(step, "grad_norm_measured")
    norm = norm if norm is not None else text.optional(step, "grad_norm")
    parts = [f"{text.clean(event.trial)} step {step.step}: loss {text.number(text.optional(step, 'loss'))}"]
    if norm is not None:
        parts.append(f"grad norm {text.number(norm)}")
    if step.HasField("learning_rate"):
        parts.append(f"lr {text.number(step.learning_rate, digits=3)}")
    if step.HasField("applied") and not step.applied:
        parts.append("skipped (overflow)")
    return ", ".join(parts)

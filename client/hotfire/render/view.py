"""What every renderer needs to know of a report, worked out once."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hotfire import static
from hotfire.render import text
from hotfire.v1 import preflight_pb2, report_pb2

ZERO_PHRASES = {
    "NONE": "ZeRO is fine: it trains, and agrees with plain PyTorch.",
    "NOT_ZERO": "ZeRO is not the cause: the job fails the same way without DeepSpeed.",
    "STAGE": "The ZeRO stage is to blame: another stage with the same other keys trains.",
    "KEYS": "These keys are to blame: changing them makes the submitted stage train.",
    "VERSION": "The library version is to blame.",
    "UNKNOWN": "Whether ZeRO is to blame could not be told here.",
}
OUTCOME_WORDS = {
    "TRAINS": "trains",
    "DOES_NOT_TRAIN": "does not train",
    "DIVERGES": "diverges",
    "CRASHED": "crashed",
    "OUT_OF_MEMORY": "out of memory",
    "HUNG": "hung",
    "NOT_EXERCISED": "not exercised",
    "": "-",
}


_PRINTED = {"loss": "logged_loss", "grad_norm": "logged_grad_norm"}

MASK_WORDS = {
    "generation": "the answers are trained, as {% generation %} of the chat template marks them",
    "prefix": "the answers are trained, found as what each adds to the turns before it (the chat template has no "
    "{% generation %})",
    "completion": "the completions are trained, the prompts are not",
    "labels": "the labels of the data say what is trained",
    "all": "every token is trained: no mask was asked for",
}


@dataclass(slots=True)
class View:
    """A preflight, looked at."""

    preflight: preflight_pb2.Preflight
    ephemeral: bool = False
    """The server will be gone when this is read (`--local`)."""
    report: report_pb2.Report = field(init=False)
    document: dict[str, Any] | None = field(init=False)
    """The spec document that patches apply to; None if the record has no spec."""

    def __post_init__(self) -> None:
        """Works out what needs the spec."""
        self.report = self.preflight.report
        self.document = static.spec_document(self.preflight.spec) if self.preflight.HasField("spec") else None

    @property
    def verdict(self) -> str:
        """PASS, WARN, FAIL, INCONCLUSIVE; the state where there is no report."""
        if self.preflight.HasField("report"):
            return text.enum_name(self.report, "verdict") or "INCONCLUSIVE"
        return text.enum_name(self.preflight, "state") or "UNKNOWN"

    @property
    def headline(self) -> str:
        """The report's sentence, or what became of a preflight without one."""
        if self.preflight.HasField("report"):
            return text.clean(self.report.headline)
        match text.enum_name(self.preflight, "state"):
            case "FAILED":
                return f"The preflight failed on our side: {text.clean(self.preflight.error.message)}"
            case "CANCELLED":
                return "The preflight was cancelled."
            case "EXPIRED":
                return "No worker was free within plan.queue_timeout."
            case state:
                return f"The preflight is {state.lower() or 'unknown'}."

    def trial(self, role: int) -> report_pb2.Trial | None:
        """The first trial of a role."""
        return next((t for t in self.report.trials if t.role == role), None)

    def trial_named(self, name: str) -> report_pb2.Trial | None:
        """The trial of that name."""
        return next((t for t in self.report.trials if name and t.name == name), None)

    @property
    def remedy(self) -> report_pb2.Fix | None:
        """What to show as *the* change: the recommendation, else the first finding's fix that has a patch."""
        if self.report.HasField("recommendation"):
            return self.report.recommendation
        fixes = [f.fix for f in self.report.findings if f.HasField("fix")]
        return next((fix for fix in fixes if fix.patch), fixes[0] if fixes else None)

    @property
    def fix_trial(self) -> report_pb2.Trial | None:
        """The trial that shows the remedy at work."""
        fix = self.remedy
        return self.trial_named(fix.trial) if fix is not None else None

    def compared_trials(self) -> list[tuple[str, report_pb2.Trial]]:
        """Whose curves are drawn, with their names: the candidate, the reference, the fix."""
        named = [
            ("as submitted", self.trial(report_pb2.ROLE_CANDIDATE)),
            ("plain PyTorch", self.trial(report_pb2.ROLE_REFERENCE)),
            ("with the fix", self.fix_trial),
        ]
        return [(name, trial) for name, trial in named if trial is not None and trial.steps]

    def facts(self) -> list[str]:
        """One short line about the run: id, time, trials, device."""
        parts = [self.preflight.name] if self.preflight.name else []
        duration = text.duration_of(self.preflight)
        if duration is not None:
            parts.append(text.seconds(duration))
        if self.report.trials and self.preflight.name:
            parts.append(text.plural(len(self.report.trials), "trial"))
            ranks = {t.num_ranks for t in self.report.trials if t.HasField("num_ranks")}
            device = self.report.environment.device
            if ranks:
                parts.append(f"{max(ranks)} × {device}" if device else text.plural(max(ranks), "rank"))
        if self.preflight.HasField("cached_from"):
            parts.append(f"from {self.preflight.cached_from}")
        return [text.clean(part) for part in parts]

    def selected_rows(self, limit: int | None = None) -> str:
        """`5 (longest row), 9 (no supervised token)`: which rows were chosen to run, and why."""
        rows = [f"{s.row} ({text.clean(s.why)})" for s in self.report.data.selected]
        more = len(rows) - limit if limit is not None else 0
        shown = ", ".join(rows[:limit])
        return f"{shown} and {more} more" if more > 0 else shown

    def check_counts(self) -> dict[str, int]:
        """Outcome -> how many rules."""
        counts = dict.fromkeys(("PASSED", "FOUND", "SKIPPED", "ERROR"), 0)
        for check in self.report.checks:
            counts[text.enum_name(check, "outcome")] = counts.get(text.enum_name(check, "outcome"), 0) + 1
        return counts

    def checks_by_reason(self, outcome: str) -> list[tuple[str, list[str]]]:
        """(reason, rules) of the checks with an outcome, the commonest reason first."""
        groups: dict[str, list[str]] = defaultdict(list)
        for check in self.report.checks:
            if text.enum_name(check, "outcome") == outcome:
                groups[text.clean(check.reason) or "no reason given"].append(check.rule)
        return sorted(groups.items(), key=lambda item: -len(item[1]))


def curve(trial: report_pb2.Trial, name: str) -> list[float | None]:
    """A measured value, step by step; of a log, where nothing was measured, what was printed."""
    values = [text.optional(step, name) for step in trial.steps]
    if name in _PRINTED and not has_values(values):
        return [text.optional(step, _PRINTED[name]) for step in trial.steps]
    return values


def has_values(values: Sequence[float | None]) -> bool:
    """Whether anything was measured."""
    return any(v is not None for v in values)


def first_and_last(values: Sequence[float | None]) -> str:
    """`2.31 -> 1.90`; both ends as measured, non-finite ones too."""
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    if all(math.isnan(v) for v in known):
        return "NaN throughout" if len(known) > 1 else "NaN"
    if len(known) > 1 and all(v == known[0] for v in known):
        return f"{text.number(known[0])} throughout"
    first, last = text.number(known[0], digits=4), text.number(known[-1], digits=4)
    return first if len(known) == 1 else f"{first} → {last}"


def peak_step(trial: report_pb2.Trial) -> int | None:
    """Index (from 1, in order) of the first step of the peak phase, if scheduled ones stand before it."""
    for i, step in enumerate(trial.steps):
        if step.phase == report_pb2.PHASE_PEAK:
            return i + 1 if i else None
    return None


def proof(view: View, fix: report_pb2.Fix) -> str:
    """What became of a fix, in words with numbers."""
    verification = text.enum_name(fix, "verification")
    trial = view.trial_named(fix.trial)
    reason = text.clean(fix.reason)
    if verification == "VERIFIED":
        words = "tried here, and it trains"
        if trial is not None and trial.steps:
            applied = sum(1 for s in trial.steps if s.applied)
            words += (
                f": loss {first_and_last(curve(trial, 'loss'))} in {text.plural(applied, 'applied step')}"
            )
        return words
    if verification == "REFUTED":
        return "tried here, and it does not cure it" + (f": {reason}" if reason else "")
    return "not tried" + (f": {reason}" if reason else "")

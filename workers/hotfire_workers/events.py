"""What a preflight tells while it runs, and whom it tells."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Protocol

from hotfire import wire
from hotfire.rules.evidence import Finding, Step, Trial
from hotfire.v1 import preflight_pb2, report_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2

Event = service_pb2.WatchPreflightResponse


class Sink(Protocol):
    """Where a preflight's events go, and where the wish to stop comes from."""

    def append(self, event: Event) -> None:
        """Take an event; cursor, time and attempt are the taker's."""
        ...

    def cancelled(self) -> bool:
        """True: stop, and let the trial's processes go. Asked about twenty times a second."""
        ...

    def put_rows(self, samples: Iterable[report_pb2.Sample]) -> None:
        """Keep rows as tokens, for `GetRow`."""
        ...


class Stopped(Exception):  # noqa: N818 - it is an outcome, not an error
    """The sink wanted the preflight to stop, and it did."""


class MemorySink:
    """Keeps everything: for a local run and for tests."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.rows: dict[int, report_pb2.Sample] = {}
        self.is_cancelled = False

    def append(self, event: Event) -> None:
        """Keeps the event."""
        self.events.append(event)

    def cancelled(self) -> bool:
        """Whatever `is_cancelled` says."""
        return self.is_cancelled

    def put_rows(self, samples: Iterable[report_pb2.Sample]) -> None:
        """Keeps the rows."""
        self.rows.update((sample.row, sample) for sample in samples)


def progress(
    phase: str,
    message: str | None = None,
    *,
    trial: str | None = None,
    step: int | None = None,
    num_steps: int | None = None,
) -> Event:
    """Where it is."""
    values = {"phase": phase, "message": message, "trial": trial, "step": step, "num_steps": num_steps}
    return Event(progress=wire.record_to_message(values, preflight_pb2.Progress))


def trial_started(trial: Trial, num_steps: int) -> Event:
    """A trial begins: name, role, patch, adaptations, ranks."""
    event = Event()
    event.trial_started.trial.CopyFrom(wire.record_to_message(trial, report_pb2.Trial))
    event.trial_started.num_steps = num_steps
    return event


def step(trial: str, step: Step) -> Event:
    """All ranks have finished a step."""
    event = Event()
    event.step.trial = trial
    event.step.step.CopyFrom(wire.record_to_message(step, report_pb2.Step))
    return event


def trial_finished(trial: Trial) -> Event:
    """A trial has ended. Its steps came before."""
    event = Event()
    without_steps = dataclasses.replace(trial, steps=[])
    event.trial_finished.trial.CopyFrom(wire.record_to_message(without_steps, report_pb2.Trial))
    return event


def finding(finding: Finding) -> Event:
    """Something is wrong. Whether its fix works, the report says."""
    event = Event()
    event.finding.finding.CopyFrom(wire.record_to_message(finding, report_pb2.Finding))
    return event


def log(message: str) -> Event:
    """A line for the user. No row text in it."""
    event = Event()
    event.log.message = message
    return event

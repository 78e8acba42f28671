"""What a runner is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hotfire.rules.evidence import (
    DataEvidence,
    ModelFacts,
    PrepareRequest,
    Step,
    Trial,
    TrialError,
    TrialRequest,
)


class RunnerError(Exception):
    """The runner itself failed (not the user's training): the preflight is FAILED or tried again."""


@dataclass(kw_only=True, slots=True)
class PrepareResult:
    """What a preparation left behind. `error` and the facts exclude each other."""

    model: ModelFacts | None = None
    data: DataEvidence | None = None
    error: TrialError | None = None
    seconds: float = 0.0
    launcher: str = "warm"
    """"warm" or "cold": what ran in the end."""


class Runner(Protocol):
    """Runs one request at a time; the two implementations give the same evidence."""

    def prepare(
        self, request: PrepareRequest, *, timeout_s: float, should_stop: Callable[[], bool] | None = None
    ) -> PrepareResult:
        """Read the model and tokenise the sample, in a process of its own."""
        ...

    def run_trial(
        self,
        request: TrialRequest,
        *,
        on_step: Callable[[Step], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Trial:
        """Run one trial to its end, or to the first of: failure, hang, `timeout_s`, `should_stop`."""
        ...

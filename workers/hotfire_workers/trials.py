"""The test stand: runs trials one after the other, tells of them, keeps what they left."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from hotfire.dsconfig.states import offload_of
from hotfire.rules.evidence import (
    Adaptation,
    Evidence,
    PatchOperation,
    Role,
    Step,
    Trial,
    TrialOutcome,
    TrialRequest,
)
from hotfire.rules.run.outcome import outcome_of
from hotfire_workers import events, plan
from hotfire_workers.budget import Budget
from hotfire_workers.events import Sink, Stopped
from hotfire_workers.runner.base import Runner

#: The candidate may take this share of the budget: the reference needs time, too.
_CANDIDATE_SHARE = 0.5
#: A later trial that takes so many times the longest so far is not like the others.
_PATIENCE = 4.0
_MIN_TIMEOUT_S = 30.0
BUDGET_SPENT = "the time budget was spent"


@dataclass(kw_only=True, slots=True)
class Stand:
    """Runs trials of one preflight.

    Attributes:
        runner: Warm or cold.
        sink: Told of everything.
        budget: Bounds them all.
        trials: What has run, or was to run, in this order.
    """

    runner: Runner
    sink: Sink
    budget: Budget
    trials: list[Trial] = field(default_factory=list)
    _by_key: dict[str, Trial] = field(default_factory=dict)
    _longest_s: float = 0.0

    def should_stop(self) -> bool:
        """The sink wants an end, or the budget is over."""
        return self.sink.cancelled() or self.budget.is_over

    def check_stopped(self) -> None:
        """Raises Stopped if the sink wants an end."""
        if self.sink.cancelled():
            raise Stopped

    def earlier(self, request: TrialRequest) -> Trial | None:
        """A trial that ran with the same effective config, data and arguments."""
        return self._by_key.get(plan.effective_key(request))

    def run(
        self,
        request: TrialRequest,
        *,
        evidence: Evidence,
        patch: Sequence[PatchOperation] = (),
        adaptations: Sequence[Adaptation] = (),
        repeats: str | None = None,
    ) -> Trial:
        """Runs one trial and judges it by the run rules.

        Args:
            request: The trial.
            evidence: The job that it runs, patched as it is.
            patch: Its difference from the candidate.
            adaptations: What was changed to fit here.
            repeats: The trial whose configuration this is, unchanged.

        Returns:
            The trial, with its outcome and the reason. NOT_EXERCISED where the budget did not allow it.

        Raises:
            Stopped: The sink wanted an end.
            RunnerError: The runner failed.
        """
        self.check_stopped()
        announced = Trial(
            name=request.name,
            role=Role(request.role),
            patch=list(patch),
            adaptations=list(adaptations),
            num_ranks=request.num_ranks,
            repeats=repeats,
        )
        if not self.budget.allows_another():
            self.budget.missed(request.name)
            return self.not_run(announced, BUDGET_SPENT)
        self.sink.append(events.progress("trial", trial=request.name, num_steps=request.num_steps))
        self.sink.append(events.trial_started(announced, request.num_steps))
        request.timeout_s = self._timeout_s(Role(request.role))
        trial = self._run(request)
        trial.patch, trial.repeats = list(patch), repeats
        trial.offload = offload_of((request.deepspeed or {}).get("zero_optimization"))
        trial.adaptations = [*adaptations, *_own_adaptations(trial, adaptations)]
        self._judge(trial, evidence, timeout_s=request.timeout_s)
        self.trials.append(trial)
        self._by_key.setdefault(plan.effective_key(request), trial)
        self.sink.append(events.trial_finished(trial))
        return trial

    def not_run(self, trial: Trial, reason: str) -> Trial:
        """Keeps a trial that was wanted and not run."""
        trial.outcome, trial.reason = TrialOutcome.NOT_EXERCISED, reason
        self.trials.append(trial)
        self.sink.append(events.trial_finished(trial))
        return trial

    def _run(self, request: TrialRequest) -> Trial:
        def on_step(step: Step) -> None:
            self.sink.append(events.step(request.name, step))

        began = time.monotonic()
        trial = self.runner.run_trial(request, on_step=on_step, should_stop=self.should_stop)
        seconds = time.monotonic() - began
        self.check_stopped()
        self.budget.took(seconds)
        self._longest_s = max(self._longest_s, seconds)
        return trial

    def _judge(self, trial: Trial, evidence: Evidence, *, timeout_s: float) -> None:
        if trial.outcome is TrialOutcome.NOT_EXERCISED and self.budget.is_over:
            trial.reason = "the time budget ran out while it ran"
        elif trial.outcome is TrialOutcome.NOT_EXERCISED and (trial.seconds or 0.0) >= timeout_s:
            trial.reason = f"it did not end within {timeout_s:.0f} s, its share of the time budget"
        # The evidence is the patched job's: the patch must not be applied to it again.
        alone = dataclasses.replace(trial, patch=[])
        trial.outcome, trial.reason = outcome_of(alone, evidence)
        if trial.outcome is TrialOutcome.NOT_EXERCISED and (self.budget.is_over or trial.error is None):
            self.budget.missed(trial.name)

    def _timeout_s(self, role: Role) -> float:
        remaining = self.budget.remaining_s
        if role is Role.CANDIDATE:
            return max(1.0, _CANDIDATE_SHARE * remaining)
        if role is Role.REFERENCE:
            return max(1.0, remaining)
        return max(1.0, min(remaining, max(_MIN_TIMEOUT_S, _PATIENCE * self._longest_s)))


def _own_adaptations(trial: Trial, known: Sequence[Adaptation]) -> list[Adaptation]:
    """What the ranks themselves had to change."""
    paths = {a.path for a in known}
    return [
        Adaptation(
            **{name: entry.get(name) for name in ("path", "before", "after")}, reason=entry.get("reason", "")
        )
        for entry in trial.facts.get("adaptations") or []
        if entry.get("path") not in paths
    ]


def as_candidate(trial: Trial) -> Trial:
    """The trial as the candidate of its own, patched job: what the rules are asked about."""
    return dataclasses.replace(trial, role=Role.CANDIDATE, patch=[])

"""A trial of the search that hangs costs its own time only, and the search goes on."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.zero_cases.bed import make_bed
from tests.zero_cases.running import find_cases, problems, run_case, warm_bench

from hotfire.rules.evidence import PrepareRequest, Trial, TrialRequest
from hotfire.v1 import report_pb2
from hotfire_workers.runner.base import PrepareResult, Runner
from hotfire_workers.train.imports import default_cache_dir

HANGING = "bisect-2"
#: The watchdog strikes at 0.8 of it; a healthy step of these trials takes 0.05 s.
COLLECTIVE_TIMEOUT_S = 10.0


class OneHangs:
    """The real runner; one of its trials is told to hang at its second step."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def prepare(self, request: PrepareRequest, **keywords: Any) -> PrepareResult:
        return self._runner.prepare(request, **keywords)

    def run_trial(self, request: TrialRequest, **keywords: Any) -> Trial:
        if request.name == HANGING:
            request = dataclasses.replace(request, faults={"hang": {"rank": 1, "step": 2}})
        return self._runner.run_trial(request, **keywords)


@pytest.mark.slow
def test_a_hang_costs_its_own_time_only_and_the_search_goes_on() -> None:
    (case,) = (c for c in find_cases(make_bed()) if c.name == "one-key-among-innocents")
    with warm_bench(default_cache_dir()) as (runner, settings):
        settings.collective_timeout_s = COLLECTIVE_TIMEOUT_S
        outcome = run_case(case, OneHangs(runner), settings)
    trials = {trial.name: trial for trial in outcome.report.trials}
    assert trials[HANGING].outcome == report_pb2.TRIAL_OUTCOME_HUNG
    hung = [t.name for t in trials.values() if t.outcome == report_pb2.TRIAL_OUTCOME_HUNG]
    assert hung == [HANGING]
    assert int(max(trials, key=_number).removeprefix("bisect-")) > 2
    assert [p for p in problems(case, outcome) if "trials for" not in p] == []


def _number(name: str) -> int:
    number = name.removeprefix("bisect-")
    return int(number) if number.isdigit() else 0

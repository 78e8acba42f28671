"""R118."""

import dataclasses

from tests.unit.rules.factory import check, evidence, reference, step, steps, trial

from hotfire.rules.evidence import MicroBatch, Outcome, RankStep, Severity, Step
from hotfire.rules.run import RanksSeeSameData

RULE = RanksSeeSameData()


def with_rows(number: int, *ranks: list[list[int]]) -> Step:
    made = step(number)
    made.ranks = [
        RankStep(rank=rank, micro_batches=[MicroBatch(rows=rows) for rows in batches])
        for rank, batches in enumerate(ranks)
    ]
    return made


SAME = ([[1, 2], [5, 6]], [[1, 2], [5, 6]])
OWN = ([[1, 2], [5, 6]], [[3, 4], [7, 8]])


def given(*made: Step, **facts: object) -> object:
    own = trial(steps=list(made))
    own.facts |= facts
    return evidence(trials=[own, reference()])


def test_good() -> None:
    assert check(RULE, evidence())[0] == []
    findings, outcome = check(RULE, given(with_rows(1, *OWN), num_rows=24))
    assert (findings, outcome.outcome) == ([], Outcome.PASSED)


def test_bad_at_every_step() -> None:
    (finding,), _ = check(RULE, given(with_rows(1, *SAME), with_rows(2, *SAME)))
    assert finding.severity is Severity.ERROR
    assert finding.evidence["ranks"] == [[0, 1]]
    assert "Only 50 % of that step's rows" in finding.message
    other_order = (SAME[0], [[5, 6], [1, 2]])
    assert check(RULE, given(with_rows(1, *other_order)))[0]


def test_bad_at_some_steps_is_a_warning() -> None:
    (finding,), _ = check(RULE, given(with_rows(1, *OWN), with_rows(2, *SAME)))
    assert finding.severity is Severity.WARNING
    assert finding.location.step == 2


def test_good_a_sample_smaller_than_one_step_repeats_rows() -> None:
    short = (([[1, 2], [1, 2]]), ([[1, 2], [1, 2]]))
    check_ = check(RULE, given(with_rows(1, *short), num_rows=2))[1]
    assert check_.outcome is Outcome.SKIPPED
    # With rows enough it is no excuse.
    assert check(RULE, given(with_rows(1, *short), num_rows=24))[0]


def test_skips_where_rows_are_not_known() -> None:
    bare = [dataclasses.replace(made, ranks=[]) for made in steps()]
    own = trial(steps=bare)
    assert check(RULE, evidence(trials=[own, reference()]))[1].outcome is Outcome.SKIPPED
    assert check(RULE, evidence(trials=[trial(num_ranks=1)]))[1].outcome is Outcome.SKIPPED

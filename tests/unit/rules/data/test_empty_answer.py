"""D109."""

import pytest
from tests.unit.rules.factory import check, data, evidence, row

from hotfire.rules.data import EmptyAnswer
from hotfire.rules.evidence import Outcome, Severity

RULE = EmptyAnswer()


@pytest.mark.parametrize(
    ("count", "supervised", "severity"),
    [(20, 1, Severity.ERROR), (5, 1, Severity.WARNING), (20, 0, Severity.WARNING)],
)
def test_bad(count: int, supervised: int, severity: Severity) -> None:
    rows = [
        row(n, empty_answer=n <= count, num_supervised=supervised if n <= count else 20) for n in range(1, 21)
    ]
    (finding,), _ = check(RULE, evidence(data=data(rows)))
    assert finding.severity is severity
    assert finding.message.startswith(f"{count} of 20 rows")


def test_one_in_thousands_is_a_note() -> None:
    rows = [row(n, empty_answer=n == 7) for n in range(1, 2001)]
    (finding,), _ = check(RULE, evidence(data=data(rows)))
    assert finding.severity is Severity.INFO
    assert finding.location.row == 7


def test_good_and_unknown() -> None:
    assert check(RULE, evidence())[0] == []
    rows = [row(1, empty_answer=None)]
    assert check(RULE, evidence(data=data(rows)))[1].outcome is Outcome.SKIPPED


def test_both_sides_of_pairs() -> None:
    rejected = [row(n, empty_answer=True) for n in range(1, 21)]
    (finding,), _ = check(RULE, evidence(data=data(format="PREFERENCE", rejected_answers=rejected)))
    assert "rejected answers" in finding.message

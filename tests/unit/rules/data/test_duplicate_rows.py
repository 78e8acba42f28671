"""D111."""

import pytest
from tests.unit.rules.factory import check, data, evidence, row

from hotfire.rules.data import DuplicateRows
from hotfire.rules.evidence import Outcome, Severity

RULE = DuplicateRows()


def _given(copies: int, total: int):
    rows = [row(n) for n in range(1, total + 1)]
    extra = {"num_copies": copies, "most_copied": [{"row": 3, "num_rows": copies + 1}]}
    return evidence(data=data(rows, extra=extra))


@pytest.mark.parametrize(
    ("copies", "total", "severity"), [(10, 100, Severity.WARNING), (3, 100, Severity.INFO)]
)
def test_bad(copies: int, total: int, severity: Severity) -> None:
    (finding,), _ = check(RULE, _given(copies, total))
    assert finding.severity is severity
    assert finding.message.startswith(f"{copies} rows are copies of an earlier row, of {total}")
    assert f"row 3 ({copies + 1} times)" in finding.message


@pytest.mark.parametrize(("copies", "total"), [(0, 20), (1, 20), (5, 1000)])
def test_good(copies: int, total: int) -> None:
    assert check(RULE, _given(copies, total))[0] == []


def test_rows_that_hold_nothing_are_all_alike() -> None:
    rows = [row(n, num_text_tokens=0, num_supervised=0) for n in range(1, 21)]
    given = data(rows, extra={"num_copies": 19, "most_copied": [{"row": 1, "num_rows": 20}]})
    assert check(RULE, evidence(data=given))[0] == []


def test_skips_where_nothing_was_compared() -> None:
    assert check(RULE, evidence())[1].outcome is Outcome.SKIPPED

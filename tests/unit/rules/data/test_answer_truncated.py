"""D102."""

from tests.unit.rules.factory import check, cut_row, data, evidence, row

from hotfire.rules.data import AnswerTruncated
from hotfire.rules.evidence import Outcome, Severity

RULE = AnswerTruncated()


def test_bad_most_answers_lose_their_end() -> None:
    rows = [cut_row(n, max_length=100) for n in range(1, 11)]
    (finding,), _ = check(RULE, evidence(data=data(rows, max_length=100)))
    assert finding.severity is Severity.ERROR
    assert finding.message.startswith("max_length 100 cuts the answer of 10 of 10 rows (100 %)")
    assert finding.evidence["supervised_tokens_lost"] == 200
    assert finding.fix.patch[0].value == 128


def test_bad_whole_answers() -> None:
    rows = [cut_row(n) if n < 3 else row(n) for n in range(1, 21)]
    (finding,), _ = check(RULE, evidence(data=data(rows, max_length=64)))
    assert finding.severity is Severity.ERROR
    assert finding.evidence["num_rows_whole_answer_lost"] == 2


def test_good_and_rows_cut_in_what_is_not_trained() -> None:
    assert check(RULE, evidence())[0] == []
    # Cut on the left: the answer is whole.
    left = [row(n, num_tokens=30, num_tokens_untruncated=60) for n in range(1, 9)]
    assert check(RULE, evidence(data=data(left)))[0] == []


def test_few_rows_are_a_warning_and_fewer_an_info() -> None:
    rows = [cut_row(1, max_length=100)] + [row(n) for n in range(2, 21)]
    (finding,), _ = check(RULE, evidence(data=data(rows, max_length=100)))
    assert finding.severity is Severity.WARNING
    rows += [row(n) for n in range(21, 301)]
    (finding,), _ = check(RULE, evidence(data=data(rows, max_length=100)))
    assert finding.severity is Severity.INFO


def test_plain_text_is_skipped() -> None:
    rows = [cut_row(n, max_length=100) for n in range(1, 11)]
    findings, outcome = check(RULE, evidence(data=data(rows, format="TEXT", mask_source="all")))
    assert findings == []
    assert outcome.outcome is Outcome.SKIPPED

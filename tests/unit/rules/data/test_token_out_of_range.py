"""D105."""

from tests.unit.rules.factory import check, data, evidence, row

from hotfire.rules.data import TokenOutOfRange
from hotfire.rules.evidence import Outcome, Severity

RULE = TokenOutOfRange()


def test_bad_id_beyond_the_embedding() -> None:
    rows = [row(n, max_token_id=512 if n == 7 else 500) for n in range(1, 21)]
    (finding,), _ = check(RULE, evidence(data=data(rows)))
    assert finding.severity is Severity.ERROR
    assert finding.location.row == 7
    assert "id 512" in finding.message
    assert "rows 0 to 511" in finding.message


def test_bad_negative_id() -> None:
    (finding,), _ = check(RULE, evidence(data=data([row(1, min_token_id=-1)])))
    assert "id -1" in finding.message


def test_good_last_id() -> None:
    assert check(RULE, evidence(data=data([row(1, max_token_id=511)])))[0] == []


def test_skips_an_unknown_embedding() -> None:
    given = evidence()
    given.model.vocab_size = None
    assert check(RULE, given)[1].outcome is Outcome.SKIPPED

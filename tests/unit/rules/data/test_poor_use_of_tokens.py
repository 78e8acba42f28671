"""D118."""

from tests.unit.rules.factory import check, data, evidence, row, training

from hotfire.rules.data import PoorUseOfTokens
from hotfire.rules.evidence import Outcome, Severity

RULE = PoorUseOfTokens()


def test_bad_padding() -> None:
    rows = [
        row(n, num_tokens=1000 if n % 2 else 20, num_supervised=100 if n % 2 else 10) for n in range(1, 21)
    ]
    (finding,), _ = check(RULE, evidence(data=data(rows)))
    assert finding.severity is Severity.INFO
    assert finding.evidence["padding_share"] == 0.49
    assert finding.message.startswith("49 % of what micro-batches of 2 rows compute is padding")
    packed = evidence(data=data(rows), training=training(packing=True))
    assert check(RULE, packed)[0] == []


def test_bad_few_labels() -> None:
    rows = [row(n, num_tokens=1000, num_supervised=10) for n in range(1, 21)]
    (finding,), _ = check(RULE, evidence(data=data(rows)))
    assert finding.message.startswith("1.0 % of the tokens have a label (200 of 20000)")


def test_good_and_too_few_rows() -> None:
    assert check(RULE, evidence())[0] == []
    assert check(RULE, evidence(data=data([row(1)])))[1].outcome is Outcome.SKIPPED

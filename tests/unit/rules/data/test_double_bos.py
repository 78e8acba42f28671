"""D104."""

from tests.unit.rules.factory import check, data, evidence, row, training

from hotfire.patch import apply_patch
from hotfire.rules.data import DoubleBos
from hotfire.rules.evidence import Outcome, Severity

RULE = DoubleBos()


def test_bad_the_tokenizer_adds_one_to_the_templates() -> None:
    rows = [row(n, num_leading_bos=2) for n in range(1, 21)]
    given = evidence(data=data(rows), training=training(add_special_tokens=True))
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.WARNING
    assert finding.message.startswith("20 rows begin with 2 BOS tokens (id 1), of 20")
    assert apply_patch(given.spec, finding.fix.patch)["training"]["add_special_tokens"] is False


def test_bad_inside_an_answer_and_not_typed() -> None:
    rows = [row(n, bos_in_answer=n < 3, bos_typed=n == 2) for n in range(1, 21)]
    (finding,), _ = check(RULE, evidence(data=data(rows)))
    assert "inside the answer of 1 of 20 rows" in finding.message
    assert finding.location.row == 1


def test_good_one_bos_and_padding_with_it() -> None:
    assert check(RULE, evidence(data=data([row(n, num_leading_bos=1) for n in range(1, 9)])))[0] == []
    padded = data([row(1, num_leading_bos=12)], format="TOKENIZED", pad_token_id=1)
    assert check(RULE, evidence(data=padded))[0] == []


def test_skips_without_bos() -> None:
    assert check(RULE, evidence(data=data(bos_token_id=None)))[1].outcome is Outcome.SKIPPED

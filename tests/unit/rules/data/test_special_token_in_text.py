"""D112."""

from tests.unit.rules.factory import check, data, evidence, row

from hotfire.rules.data import SpecialTokenInText
from hotfire.rules.evidence import Outcome, Severity

RULE = SpecialTokenInText()


def _extra(num_rows: int) -> dict:
    return {
        "typed_special_tokens": [
            {"row": n, "role": "user", "token": "<|im_end|>"} for n in range(1, num_rows + 1)
        ],
        "typed_tokens": {"<|im_end|>": num_rows},
        "typed_token_rows": list(range(1, num_rows + 1)),
        "num_typed_token_rows": num_rows,
    }


def test_bad() -> None:
    (finding,), _ = check(RULE, evidence(data=data(extra=_extra(3))))
    assert finding.severity is Severity.WARNING
    assert finding.message.startswith(
        "3 rows have control tokens in the text of a turn, of 20 (15 %): <|im_end|>"
    )
    assert finding.evidence["rows"] == [1, 2, 3]


def test_one_in_thousands_is_a_note() -> None:
    rows = [row(n) for n in range(1, 2001)]
    (finding,), _ = check(RULE, evidence(data=data(rows, extra=_extra(1))))
    assert finding.severity is Severity.INFO


def test_good_and_unknown() -> None:
    assert check(RULE, evidence(data=data(extra={"typed_special_tokens": []})))[0] == []
    assert check(RULE, evidence())[1].outcome is Outcome.SKIPPED

"""D115."""

import pytest
from tests.unit.rules.factory import check, data, evidence, row

from hotfire.rules.data import BrokenText
from hotfire.rules.evidence import Outcome, Severity

RULE = BrokenText()
CLEAN = {
    "num_mojibake_rows": 0,
    "num_replacement_character_rows": 0,
    "num_unknown_tokens": 0,
    "num_tokens": 800,
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_mojibake_rows": 5, "mojibake_rows": [1, 2]}, "mojibake"),
        ({"num_replacement_character_rows": 2, "replacement_character_rows": [4]}, "U+FFFD"),
        ({"num_unknown_tokens": 80, "unknown_token_rows": [1]}, "80 of 800 tokens (10 %) are unknown"),
    ],
)
def test_bad(changes: dict, words: str) -> None:
    (finding,), _ = check(RULE, evidence(data=data(extra={**CLEAN, **changes})))
    assert finding.severity is Severity.WARNING
    assert words in finding.message


def test_few_are_a_note() -> None:
    rows = [row(n) for n in range(1, 2001)]
    extra = {**CLEAN, "num_mojibake_rows": 1, "mojibake_rows": [9]}
    (finding,), _ = check(RULE, evidence(data=data(rows, extra=extra)))
    assert finding.severity is Severity.INFO


def test_good_and_unknown() -> None:
    assert check(RULE, evidence(data=data(extra=CLEAN)))[0] == []
    assert check(RULE, evidence())[1].outcome is Outcome.SKIPPED

"""D119."""

import pytest
from tests.unit.rules.factory import check, evidence

from hotfire.rules.data import UnreadableSample
from hotfire.rules.evidence import DataEvidence, ModelFacts, Outcome, RejectedRow, Severity

RULE = UnreadableSample()


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (DataEvidence(read_error="train.jsonl is a Git LFS pointer; run git lfs pull."), "Git LFS pointer"),
        (DataEvidence(), "is empty"),
        (
            DataEvidence(num_rows_read=3, rejected=[RejectedRow(row=1, reason="no known columns")]),
            "None of the 3 rows can be used: row 1: no known columns",
        ),
    ],
)
def test_bad(sample: DataEvidence, words: str) -> None:
    (finding,), _ = check(RULE, evidence(data=sample))
    assert finding.severity is Severity.ERROR
    assert words in finding.message
    assert ".." not in finding.message


@pytest.mark.parametrize("model", [ModelFacts(readable=False), ModelFacts(blocked="remote-code")])
def test_rows_without_a_tokenizer_are_not_to_blame(model: ModelFacts) -> None:
    found, outcome = check(RULE, evidence(data=DataEvidence(num_rows_read=3), model=model))
    assert found == []
    assert outcome.outcome is Outcome.SKIPPED


def test_good() -> None:
    assert check(RULE, evidence())[0] == []


def test_rows_are_not_to_blame_for_a_model_without_a_tokenizer() -> None:
    given = evidence(data=DataEvidence(num_rows_read=3), model=ModelFacts(readable=False, read_error="none"))
    findings, outcome = check(RULE, given)
    assert findings == []
    assert outcome.outcome is Outcome.SKIPPED
    assert "the model could not be loaded" in outcome.reason

"""M101."""

from tests.unit.rules.factory import check, data, evidence, row

from hotfire.rules.evidence import Outcome, Severity
from hotfire.rules.model import VocabularyMismatch

RULE = VocabularyMismatch()


def test_bad_added_pad_token() -> None:
    given = evidence()
    given.model.tokenizer_length, given.model.special_token_ids["pad"] = 513, 512
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert "pad = 512" in finding.message


def test_bad_tokenizer_longer_than_the_embedding() -> None:
    given = evidence(data=data([row(1, max_token_id=515)]))
    given.model.tokenizer_length = 520
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert "Ids 512 to 519" in finding.message
    given.data = None
    assert check(RULE, given)[0][0].severity is Severity.ERROR


def test_unused_new_tokens_are_a_warning() -> None:
    given = evidence()
    given.model.tokenizer_length = 520
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.WARNING
    assert "Lowered" in finding.message


def test_good_padded_embedding() -> None:
    """More rows than tokens is usual: padded for the kernels."""
    given = evidence()
    given.model.tokenizer_length = 400
    assert check(RULE, given)[0] == []


def test_skips_without_a_tokenizer() -> None:
    given = evidence()
    given.model.tokenizer_length, given.model.special_token_ids = None, {}
    assert check(RULE, given)[1].outcome is Outcome.SKIPPED

"""D106."""

from tests.unit.rules.factory import check, data, evidence, row

from hotfire.rules.data import MaskMisaligned
from hotfire.rules.evidence import Outcome, Severity

RULE = MaskMisaligned()


def _wrong(number: int, kind: str, share: float, **changes: object):
    return row(
        number, answer_text_matches=False, answer_difference=kind, answer_difference_share=share, **changes
    )


def test_bad_the_header_is_trained() -> None:
    (finding,), _ = check(RULE, evidence(data=data([_wrong(n, "more", 0.4) for n in range(1, 21)])))
    assert finding.severity is Severity.ERROR
    assert "more than the answer is trained" in finding.message
    assert "40 % of the text in the median" in finding.message


def test_a_seam_of_a_long_answer_is_a_warning() -> None:
    rows = [_wrong(n, "less", 0.02, prefix_ok=False) for n in range(1, 21)]
    (finding,), _ = check(RULE, evidence(data=data(rows, mask_source="completion")))
    assert finding.severity is Severity.WARNING
    assert "do not meet at a token's edge" in finding.message
    assert "white space" in finding.fix.description


def test_bad_labels_shifted_in_the_data() -> None:
    rows = [row(n, num_label_mismatches=19, labels_shifted=True) for n in range(1, 9)]
    (finding,), _ = check(RULE, evidence(data=data(rows, format="TOKENIZED", mask_source="labels")))
    assert "shifts them once more" in finding.message
    assert finding.evidence["num_label_mismatches"] == 152


def test_rewritten_reasoning_is_a_note() -> None:
    rows = [row(n, prefix_ok=False, answer_text_matches=None) for n in range(1, 9)]
    (finding,), _ = check(RULE, evidence(data=data(rows, mask_source="prefix")))
    assert finding.severity is Severity.INFO


def test_good_and_other_rules_causes() -> None:
    assert check(RULE, evidence())[0] == []
    rows = [_wrong(n, "more", 0.4) for n in range(1, 9)]
    lost = data(rows, collator="LANGUAGE_MODELING")  # prompt-in-loss
    assert check(RULE, evidence(data=lost))[0] == []
    empty = [_wrong(1, "less", 1.0, num_supervised=0)]  # no-supervised-tokens
    assert check(RULE, evidence(data=data(empty)))[0] == []


def test_both_sides_of_pairs() -> None:
    rejected = [_wrong(n, "other", 0.5) for n in range(1, 21)]
    (finding,), _ = check(RULE, evidence(data=data(format="PREFERENCE", rejected_answers=rejected)))
    assert finding.message.startswith("Of the rejected answers of the pairs: in 20 of 20 rows")
    assert finding.evidence["side"] == "rejected"


def test_skips_where_no_answer_is_known() -> None:
    rows = [row(n, answer_text_matches=None, prefix_ok=None, num_answers=1) for n in range(1, 9)]
    assert check(RULE, evidence(data=data(rows, mask_source="all")))[1].outcome is Outcome.SKIPPED

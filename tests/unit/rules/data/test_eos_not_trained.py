"""D103."""

from tests.unit.rules.factory import check, data, evidence, row

from hotfire.rules.data import EosNotTrained
from hotfire.rules.evidence import Outcome, Severity

RULE = EosNotTrained()


def test_bad_collator_masks_the_end_token() -> None:
    rows = [row(n, end_token_trained=False) for n in range(1, 21)]
    given = evidence(data=data(rows, pad_token_id=2, collator="LANGUAGE_MODELING"))
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert "the pad token is the end token" in finding.message
    (operation,) = finding.fix.patch
    assert (operation.path, operation.value) == ("/training/collator", "PADDING")


def test_bad_template_leaves_it_outside() -> None:
    rows = [row(n, end_token_trained=False) for n in range(1, 21)]
    (finding,), _ = check(RULE, evidence(data=data(rows)))
    assert "{% generation %}" in finding.message
    assert finding.fix.patch == []


def test_bad_absent() -> None:
    rows = [row(n, has_end_token=False, end_token_trained=None) for n in range(1, 21)]
    (finding,), _ = check(RULE, evidence(data=data(rows)))
    assert finding.severity is Severity.ERROR
    assert "do not end with an end token" in finding.message


def test_bad_seen_in_the_labels_themselves() -> None:
    rows = [
        row(n, has_end_token=None, end_token_trained=None, input_ids=[1, 5, 6, 2], labels=[-100, 5, 6, -100])
        for n in range(1, 5)
    ]
    (finding,), _ = check(RULE, evidence(data=data(rows)))
    assert finding.severity is Severity.ERROR


def test_good_and_pad_is_eos_alone_is_no_fault() -> None:
    assert check(RULE, evidence())[0] == []
    assert check(RULE, evidence(data=data(pad_token_id=2, collator="PADDING")))[0] == []


def test_few_rows_are_a_warning() -> None:
    rows = [row(n, end_token_trained=n > 2) for n in range(1, 21)]
    (finding,), _ = check(RULE, evidence(data=data(rows)))
    assert finding.severity is Severity.WARNING


def test_skips_plain_text_and_the_unknown() -> None:
    rows = [row(n, has_end_token=False, end_token_trained=False) for n in range(1, 5)]
    assert check(RULE, evidence(data=data(rows, format="TEXT")))[1].outcome is Outcome.SKIPPED
    unknown = [row(n, has_end_token=None, end_token_trained=None) for n in range(1, 5)]
    assert check(RULE, evidence(data=data(unknown)))[1].outcome is Outcome.SKIPPED

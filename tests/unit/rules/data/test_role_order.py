"""D108."""

from tests.unit.rules.factory import check, data, evidence

from hotfire.rules.data import RoleOrder
from hotfire.rules.evidence import Outcome, RejectedRow, Severity

RULE = RoleOrder()
CLEAN = {"num_same_role_twice_rows": 0, "num_assistant_first_rows": 0, "num_no_assistant_rows": 0}


def test_bad_refused_by_the_template() -> None:
    rejected = [RejectedRow(row=n, kind="role-order", reason="roles must alternate") for n in (2, 5)]
    (finding,), _ = check(RULE, evidence(data=data(rejected=rejected, num_rows_read=22)))
    assert finding.severity is Severity.ERROR
    assert "refuses 2 rows of 22 for the order of turns (roles must alternate)" in finding.message


def test_bad_two_turns_of_one_role() -> None:
    extra = {**CLEAN, "num_same_role_twice_rows": 4, "same_role_twice_rows": [1, 2, 3, 4]}
    (finding,), _ = check(RULE, evidence(data=data(extra=extra)))
    assert finding.severity is Severity.WARNING
    assert finding.message.startswith(
        "4 of 20 rows (20 %) have two turns of one role in a row: rows 1, 2, 3, 4"
    )


def test_no_answer_is_an_error_where_the_prompt_is_trained() -> None:
    extra = {**CLEAN, "num_no_assistant_rows": 20, "no_assistant_rows": [1, 2]}
    (finding,), _ = check(RULE, evidence(data=data(extra=extra, mask_source="all")))
    assert finding.severity is Severity.ERROR
    (finding,), _ = check(RULE, evidence(data=data(extra=extra, mask_source="prefix")))
    assert finding.severity is Severity.WARNING
    assert "no-supervised-tokens" in finding.message


def test_good_and_unknown() -> None:
    assert check(RULE, evidence(data=data(extra=CLEAN)))[0] == []
    assert check(RULE, evidence())[1].outcome is Outcome.SKIPPED

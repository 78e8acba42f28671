"""D113."""

from tests.unit.rules.factory import check, data, evidence

from hotfire.patch import apply_patch
from hotfire.rules.data import ColumnDropped
from hotfire.rules.evidence import Outcome, Severity

RULE = ColumnDropped()


def _extra(unseen: int, present: int = 20) -> dict:
    facts = {"num_rows": present, "num_unseen": unseen, "rows": list(range(1, unseen + 1))}
    return {"unseen_answers": {"answer": facts} if unseen else {}, "columns": {"text": 20, "answer": present}}


def test_bad_the_answer_of_plain_text() -> None:
    given = evidence(data=data(format="TEXT", mask_source="all", extra=_extra(20)))
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert finding.message.startswith(
        "The column 'answer' is dropped, and with it the answer of 20 of 20 rows"
    )
    patched = apply_patch(given.spec, finding.fix.patch)["data"]
    assert patched == {"format": "PROMPT_COMPLETION", "columns": {"prompt": "text", "completion": "answer"}}


def test_some_rows_are_a_warning() -> None:
    given = data(format="TEXT", extra=_extra(4, present=5))
    (finding,), _ = check(RULE, evidence(data=given))
    assert finding.severity is Severity.WARNING


def test_good_the_answer_is_in_the_text() -> None:
    assert check(RULE, evidence(data=data(format="TEXT", extra=_extra(0))))[0] == []
    assert check(RULE, evidence(data=data(format="TEXT", extra=_extra(4))))[0] == []  # 4 of 20 that have one


def test_skips_where_columns_are_not_known() -> None:
    assert check(RULE, evidence())[1].outcome is Outcome.SKIPPED

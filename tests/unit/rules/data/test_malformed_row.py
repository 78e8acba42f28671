"""D110."""

from tests.unit.rules.factory import check, data, evidence

from hotfire.rules.data import MalformedRow
from hotfire.rules.evidence import RejectedRow, Severity

RULE = MalformedRow()


def test_bad_rows_are_grouped_by_reason() -> None:
    rejected = [
        RejectedRow(
            row=5, reason="messages is a string, a list of turns is wanted", excerpt='{"messages": "secret'
        ),
        RejectedRow(row=8, reason="not JSON: line 1 column 3"),
        RejectedRow(row=9, reason="messages is a string, a list of turns is wanted"),
    ]
    findings, _ = check(RULE, evidence(data=data(rejected=rejected, num_rows_read=23)))
    assert [f.evidence["num_rows"] for f in findings] == [2, 1]
    assert findings[0].severity is Severity.ERROR
    assert findings[0].location.row == 5
    assert "Rows 5, 9 of 23" in findings[0].message
    # Text of the row stands in the evidence only.
    assert all("secret" not in f.message for f in findings)
    assert "secret" in findings[0].evidence["first_characters"]


def test_bad_refused_by_the_template() -> None:
    rejected = [RejectedRow(row=2, kind="template", reason="the chat template raised: no user turn")]
    (finding,), _ = check(RULE, evidence(data=data(rejected=rejected)))
    assert finding.location.row == 2


def test_many_reasons_are_summed_up() -> None:
    rejected = [RejectedRow(row=n, reason=f"reason {n}") for n in range(1, 9)]
    findings, _ = check(RULE, evidence(data=data(rejected=rejected)))
    assert len(findings) == 6
    assert findings[-1].message.startswith("3 more rows are malformed")


def test_good_and_roles_are_not_its_business() -> None:
    assert check(RULE, evidence())[0] == []
    roles = [RejectedRow(row=1, kind="unknown-role", reason="role 'x'")]
    assert check(RULE, evidence(data=data(rejected=roles)))[0] == []

"""D107."""

from tests.unit.rules.factory import check, data, evidence

from hotfire.patch import apply_patch
from hotfire.rules.data import UnknownRole
from hotfire.rules.evidence import RejectedRow, Severity

RULE = UnknownRole()


def _refused(row: int, role: str) -> RejectedRow:
    return RejectedRow(
        row=row, kind="unknown-role", reason=f"turn 1: the template does not know the role '{role}'"
    )


def test_bad_sharegpt_names() -> None:
    given = evidence(data=data(rejected=[_refused(3, "human"), _refused(4, "gpt"), _refused(9, "human")]))
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert finding.message.startswith(
        "3 rows have a role that the chat template does not know: 'human', 'gpt'"
    )
    assert finding.location.row == 3
    patched = apply_patch(given.spec, finding.fix.patch)
    assert patched["data"]["role_mapping"] == {"human": "user", "gpt": "assistant"}


def test_existing_mapping_is_kept() -> None:
    given = evidence(data=data(rejected=[], extra={"unknown_roles": {"gpt": 2}}))
    given.data.rejected = [RejectedRow(row=1, kind="unknown-role", reason="refused")]
    given.spec["data"] = {"role_mapping": {"human": "user"}}
    (finding,), _ = check(RULE, given)
    assert finding.fix.patch[0].op == "replace"
    assert finding.fix.patch[0].value == {"human": "user", "gpt": "assistant"}


def test_a_name_without_common_meaning_has_no_patch() -> None:
    (finding,), _ = check(RULE, evidence(data=data(rejected=[_refused(1, "narrator")])))
    assert finding.fix.patch == []


def test_good_and_other_rejections_are_not_its_business() -> None:
    assert check(RULE, evidence())[0] == []
    malformed = [RejectedRow(row=1, reason="not an object")]
    assert check(RULE, evidence(data=data(rejected=malformed)))[0] == []


def test_what_was_tried_with_the_template_wins() -> None:
    extra = {"unknown_roles": {"human": 3}, "role_suggestions": {"human": "customer"}}
    given = evidence(data=data(rejected=[_refused(1, "human")], extra=extra))
    (finding,), _ = check(RULE, given)
    assert finding.fix.patch[0].value == {"human": "customer"}

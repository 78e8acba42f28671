"""D114; `tests/unit/train_data/test_lost_index.py` has GLM-4's own case."""

import pytest
from tests.unit.rules.factory import check, data, evidence, row, training

from hotfire.patch import apply_patch
from hotfire.rules.data import TemplateMismatch
from hotfire.rules.evidence import Outcome, RejectedRow, Severity

RULE = TemplateMismatch()
FOREIGN = {"foreign_markers": ["<|im_start|>"], "unused_role_tokens": ["<|user|>"], "has_own": True}
GLM = ["[gMASK]", "<sop>"]


@pytest.mark.parametrize("kind", ["nested-output", "nested-ids", "no-tokens"])
def test_bad_ids_that_were_lost(kind: str) -> None:
    rejected = [RejectedRow(row=n, kind=kind, reason="...") for n in (1, 2)]
    lost = data([], format="TOKENIZED", rejected=rejected, num_rows_read=2)
    (finding,), _ = check(RULE, evidence(data=lost, trials=None))
    assert finding.severity is Severity.ERROR
    assert "[0]" in finding.message
    assert "[0]" in finding.fix.description


def test_bad_the_template_of_another_family() -> None:
    given = evidence(
        data=data(extra={"template": FOREIGN}), training=training(chat_template="{{ messages }}")
    )
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert "<|im_start|>, which is no token of this vocabulary" in finding.message
    assert "chat_template" not in apply_patch(given.spec, finding.fix.patch)["training"]


def test_plain_markers_are_fine_where_the_vocabulary_has_none() -> None:
    template = {**FOREIGN, "unused_role_tokens": []}  # Zephyr writes <|user|> as text
    assert check(RULE, evidence(data=data(extra={"template": template})))[0] == []


def test_bad_the_prefix_twice() -> None:
    extra = {"num_doubled_prefix_rows": 20, "doubled_prefix_rows": [1], "prefix_tokens": GLM * 2}
    given = evidence(data=data(extra=extra), training=training(add_special_tokens=True))
    (finding,), _ = check(RULE, given)
    assert "([gMASK]<sop>[gMASK]<sop>)" in finding.message
    assert apply_patch(given.spec, finding.fix.patch)["training"]["add_special_tokens"] is False


def test_bad_the_prefix_is_missing() -> None:
    extra = {"num_missing_prefix_rows": 20, "missing_prefix_rows": [1], "expected_prefix": GLM}
    (finding,), _ = check(RULE, evidence(data=data(extra=extra)))
    assert finding.severity is Severity.ERROR
    given = evidence(data=data(extra=extra))
    given.model.pretrained = False
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.WARNING


def test_bos_that_the_models_own_template_writes() -> None:
    lacks = {"template": {"lacks_bos": True}}
    (finding,), _ = check(RULE, evidence(data=data(extra=lacks)))
    assert finding.severity is Severity.WARNING
    rows = [row(n, num_leading_bos=1) for n in range(1, 9)]  # add_special_tokens wrote it
    assert check(RULE, evidence(data=data(rows, extra=lacks)))[0] == []


def test_good_and_skipped() -> None:
    assert check(RULE, evidence())[0] == []
    assert check(RULE, evidence(data=data([])))[1].outcome is Outcome.SKIPPED

"""M104."""

import pytest
from tests.unit.rules.factory import check, evidence, training

from hotfire.patch import apply_patch
from hotfire.rules.evidence import Outcome, Severity
from hotfire.rules.model import LoraTargetUnmatched

RULE = LoraTargetUnmatched()
LINEAR = {"q_proj": 2, "k_proj": 2, "v_proj": 2, "o_proj": 2, "gate_proj": 2, "up_proj": 2, "down_proj": 2}


def _given(targets, *, trainable: int | None, matches: dict[str, int]):
    given = evidence(training=training(peft={"r": 8, "target_modules": targets}))
    given.model.num_trainable, given.model.linear_modules = trainable, dict(LINEAR)
    given.model.target_matches = matches
    given.model.unmatched_patterns = [t for t, n in matches.items() if not n]
    return given


@pytest.mark.parametrize(
    ("targets", "proposed"),
    [
        (["query_key_value"], ["q_proj", "k_proj", "v_proj"]),
        (["dense"], ["o_proj"]),
        (["w1", "query"], ["gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj"]),
        (["nothing_like_it"], "all-linear"),
    ],
)
def test_bad_none_matches(targets: list[str], proposed: object) -> None:
    given = _given(targets, trainable=None, matches=dict.fromkeys(targets, 0))
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert finding.message.startswith("The adapter trains nothing")
    assert apply_patch(given.spec, finding.fix.patch)["training"]["peft"]["target_modules"] == proposed


def test_some_match() -> None:
    given = _given(["q_proj", "W_pack"], trainable=100, matches={"q_proj": 2, "W_pack": 0})
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.WARNING
    patched = apply_patch(given.spec, finding.fix.patch)["training"]["peft"]
    assert patched["target_modules"] == ["q_proj", "k_proj", "v_proj"]


def test_bad_peft_refuses_for_another_reason() -> None:
    given = _given(["q_proj"], trainable=None, matches={"q_proj": 2})
    given.model.peft_error = "training.peft has names that LoraConfig does not know: rank"
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert "rank" in finding.message


def test_good_and_no_adapter() -> None:
    assert check(RULE, _given(["q_proj"], trainable=100, matches={"q_proj": 2}))[0] == []
    assert check(RULE, evidence())[1].outcome is Outcome.SKIPPED

"""R116."""

import pytest
from tests.unit.rules.factory import check, evidence, reference, steps, trial

from hotfire.rules.evidence import Outcome, PatchOperation, Role, Trial
from hotfire.rules.run import AccumulationScaling

RULE = AccumulationScaling()


def scaled(factor: float) -> Trial:
    made = steps()
    for one in made:
        one.grad_norm *= factor
        one.grad_norm_measured *= factor
    return trial(steps=made)


@pytest.mark.parametrize(("factor", "words"), [(2.0, "the 2 accumulation steps"), (4.0, "times 2 ranks")])
def test_bad_against_the_reference(factor: float, words: str) -> None:
    (finding,), _ = check(RULE, evidence(trials=[scaled(factor), reference()]))
    assert words in finding.message
    assert finding.location.config_path == "/deepspeed/gradient_accumulation_steps"
    assert finding.evidence["factor"] == factor


@pytest.mark.parametrize("factor", [1.0, 0.5, 1.4, 1.9, 3.0])
def test_good_another_factor_is_another_fault(factor: float) -> None:
    assert check(RULE, evidence(trials=[scaled(factor), reference()]))[0] == []


def test_good_one_micro_batch() -> None:
    own = scaled(2.0)
    own.effective_config["gradient_accumulation_steps"] = 1
    assert check(RULE, evidence(trials=[own, reference()]))[0] == []


def more(loss_factor: float) -> Trial:
    made = steps()
    for one in made:
        one.loss *= loss_factor
    patch = [PatchOperation(op="replace", path="/deepspeed/gradient_accumulation_steps", value=8)]
    other = trial(Role.FIX, steps=made, patch=patch)
    other.effective_config["gradient_accumulation_steps"] = 8
    return other


def test_trials_that_differ_in_accumulation_only() -> None:
    (finding,), _ = check(RULE, evidence(trials=[trial(), reference(), more(4.1)]))
    assert "25.63 at 8" in finding.message
    assert check(RULE, evidence(trials=[trial(), reference(), more(0.98)]))[0] == []
    other = more(4.1)
    other.patch.append(PatchOperation(op="replace", path="/training/learning_rate", value=1.0))
    assert check(RULE, evidence(trials=[trial(), reference(), other]))[0] == []


def test_skips_one_trial() -> None:
    assert check(RULE, evidence(trials=[trial()]))[1].outcome is Outcome.SKIPPED

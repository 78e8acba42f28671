"""R123."""

import pytest
from tests.unit.rules.factory import check, dead_steps, evidence, reference, steps, trial

from hotfire.rules.evidence import Evidence, Outcome, Role, Severity, Trial
from hotfire.rules.run import Nondeterministic

RULE = Nondeterministic()


def again(**changes: object) -> Trial:
    return trial(Role.STAGE, name="candidate-again", repeats="candidate", **changes)


def given(second: Trial, device: str = "cpu") -> Evidence:
    first = trial()
    first.facts["device"] = device
    return evidence(trials=[first, reference(), second])


def test_good() -> None:
    assert check(RULE, given(again()))[0] == []
    assert check(RULE, evidence(trials=[trial(steps=dead_steps()), again(steps=dead_steps())]))[0] == []


def test_bad_one_digit_on_a_cpu() -> None:
    made = steps()
    made[2].loss = made[2].loss * (1 + 1e-6)
    (finding,), _ = check(RULE, given(again(steps=made)))
    assert finding.severity is Severity.WARNING
    assert (finding.location.step, finding.location.trial) == (3, "candidate-again")
    assert "equal to 6 digits" in finding.message
    # A device adds up in another order each time.
    assert check(RULE, given(again(steps=made), device="NVIDIA H100"))[0] == []


@pytest.mark.parametrize("device", ["cpu", "NVIDIA H100"])
def test_bad_another_outcome(device: str) -> None:
    (finding,), _ = check(RULE, given(again(steps=dead_steps()), device=device))
    assert finding.evidence["outcomes"] == ["TRAINS", "DOES_NOT_TRAIN"]
    assert "the first difference is at step 1" in finding.message


def test_skips_without_a_repeat() -> None:
    assert check(RULE, evidence())[1].outcome is Outcome.SKIPPED
    lost = trial(Role.STAGE, name="x", repeats="nobody")
    assert check(RULE, evidence(trials=[trial(), lost]))[1].outcome is Outcome.SKIPPED

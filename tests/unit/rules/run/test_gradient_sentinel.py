"""R105."""

import math

import pytest
from tests.unit.rules.factory import check, evidence, reference, step, steps, trial

from hotfire.rules.evidence import Outcome, Severity
from hotfire.rules.run import GradientSentinel

RULE = GradientSentinel()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_bad(k: int) -> None:
    own = trial(steps=steps(grad_norm=math.sqrt(k), grad_norm_measured=float("nan")))
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert finding.severity is Severity.ERROR
    assert finding.evidence["num_groups"] == k


def test_bad_in_a_log() -> None:
    own = trial(steps=steps(grad_norm=None, grad_norm_measured=None, logged_grad_norm=1.4142135623730951))
    (finding,), _ = check(RULE, evidence(trials=[own]))
    assert finding.evidence["num_groups"] == 2


def test_good_our_own_norm_confirms_it() -> None:
    assert check(RULE, evidence())[0] == []
    own = trial(steps=steps(grad_norm=1.0, grad_norm_measured=1.0000001))
    assert check(RULE, evidence(trials=[own, reference()]))[0] == []


def test_good_once_is_chance() -> None:
    own = trial(steps=[step(1, grad_norm=1.0, grad_norm_measured=None), *steps(grad_norm_measured=None)[1:]])
    assert check(RULE, evidence(trials=[own, reference()]))[0] == []


def test_skips_without_a_norm() -> None:
    own = trial(steps=steps(grad_norm=None, logged_grad_norm=None))
    assert check(RULE, evidence(trials=[own, reference()]))[1].outcome is Outcome.SKIPPED


def _log(norm: float, *, loss: float = 2.0) -> object:
    changes = {"loss": None, "logged_loss": loss, "grad_norm": None, "grad_norm_measured": None}
    return trial(steps=steps(**changes, logged_grad_norm=norm))


def test_good_a_log_of_the_norm_after_clipping() -> None:
    assert check(RULE, evidence(trials=[_log(1.0)]))[0] == []
    # Beside a loss that is printed as 0, or at a value that nobody clips at, it is the mark.
    assert check(RULE, evidence(trials=[_log(1.0, loss=0.0)]))[0]
    assert check(RULE, evidence(trials=[_log(math.sqrt(2))]))[0]


def test_good_more_marks_than_groups() -> None:
    own = trial(steps=steps(grad_norm=2.0, grad_norm_measured=None))
    own.facts["num_parameter_groups"] = 2
    assert check(RULE, evidence(trials=[own, reference()]))[0] == []
    own.facts["num_parameter_groups"] = 4
    assert check(RULE, evidence(trials=[own, reference()]))[0]

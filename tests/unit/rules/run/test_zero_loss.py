"""R102."""

import pytest
from tests.unit.rules.factory import check, dead_evidence, evidence, reference, step, steps, trial

from hotfire.rules.evidence import Severity
from hotfire.rules.run import ZeroLoss

RULE = ZeroLoss()


def _log(**numbers: float | None) -> list:
    """What `trainer_state.json` has: printed values only."""
    unknown = {
        "applied": None,
        "loss": None,
        "grad_norm": None,
        "grad_norm_measured": None,
        "num_supervised_tokens": None,
        "update_ratio": None,
    }
    return steps(**(unknown | numbers))


def test_bad_no_supervised_token() -> None:
    zero = steps(loss=0.0, grad_norm=0.0, grad_norm_measured=0.0, num_supervised_tokens=0)
    (finding,), _ = check(RULE, evidence(trials=[trial(steps=zero), reference()]))
    assert finding.severity is Severity.ERROR
    assert finding.evidence["mechanism"] == "no-supervised-tokens"
    assert "all 8 applied steps" in finding.message


def test_bad_the_loss_does_not_depend_on_the_model() -> None:
    """A weight read outside forward under stage 3 is an empty tensor."""
    zero = steps(loss=0.0, grad_norm=0.0, grad_norm_measured=0.0)
    (finding,), _ = check(RULE, evidence(stage=3, trials=[trial(stage=3, steps=zero), reference()]))
    assert finding.evidence["mechanism"] == "no-gradient"


@pytest.mark.parametrize(
    ("norm", "mechanism"),
    [
        (0.0, "no-supervised-tokens"),
        (float("inf"), "non-finite-forward"),
        (float("nan"), "non-finite-forward"),
        (2**0.5, "no-gradient"),
    ],
)
def test_bad_in_a_log_the_norm_tells_the_mechanism(norm: float, mechanism: str) -> None:
    own = trial(steps=_log(logged_loss=0.0, logged_grad_norm=norm, learning_rate=1e-4))
    (finding,), _ = check(RULE, evidence(trials=[own]))
    assert finding.evidence["mechanism"] == mechanism
    assert "printed as exactly 0" in finding.message


def test_good_near_zero_with_a_gradient() -> None:
    assert check(RULE, evidence())[0] == []
    on_policy = steps(loss=0.0, logged_loss=0.0)
    assert check(RULE, evidence(trials=[trial(steps=on_policy), reference()]))[0] == []


def test_good_nan_is_not_zero() -> None:
    assert check(RULE, dead_evidence())[0] == []


def test_one_dead_step_is_a_warning() -> None:
    dead = step(3, loss=0.0, grad_norm=0.0, grad_norm_measured=0.0, num_supervised_tokens=0)
    own = trial(steps=[*steps()[:2], dead, *steps()[3:]])
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert finding.severity is Severity.WARNING

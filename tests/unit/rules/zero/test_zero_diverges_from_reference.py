"""Z103."""

from tests.unit.rules.factory import check, dead_evidence, evidence, other_stage, reference, steps, trial

from hotfire.rules.evidence import Outcome, Severity
from hotfire.rules.zero import ZeroDivergesFromReference

RULE = ZeroDivergesFromReference()


def test_bad_lost_micro_batches() -> None:
    own = trial(steps=steps(grad_norm=0.649, grad_norm_measured=0.649))
    (finding,), _ = check(RULE, evidence(trials=[own, reference(), other_stage(1), other_stage(3)]))
    assert finding.severity is Severity.ERROR
    assert "the gradient norm differs by 28 % at step 1 (0.649 against 0.906)" in finding.message
    assert finding.fix.patch[0].value == 3


def test_bad_gradients_that_are_never_zeroed() -> None:
    """Step 1 is right, and Adam hides the rest."""
    own = trial(stage=0)
    own.steps[1].grad_norm_measured = 1.3 * own.steps[1].grad_norm_measured
    (finding,), _ = check(RULE, evidence(stage=0, trials=[own, reference()]))
    assert "the gradient norm differs by 30 % at step 2" in finding.message


def test_good() -> None:
    assert check(RULE, evidence())[0] == []
    near = trial()
    near.steps[1].grad_norm_measured = 1.03 * near.steps[1].grad_norm_measured
    assert check(RULE, evidence(trials=[near, reference()]))[0] == []


def test_skips_what_does_not_train() -> None:
    assert check(RULE, dead_evidence())[1].outcome is Outcome.SKIPPED

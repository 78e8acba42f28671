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


def test_good() -> None:
    assert check(RULE, evidence())[0] == []


def test_skips_what_does_not_train() -> None:
    assert check(RULE, dead_evidence())[1].outcome is Outcome.SKIPPED

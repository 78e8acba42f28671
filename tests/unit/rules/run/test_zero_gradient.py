"""R103."""

from tests.unit.rules.factory import check, dead_evidence, evidence, reference, step, steps, trial

from hotfire.rules.evidence import Outcome, Severity
from hotfire.rules.run import ZeroGradient

RULE = ZeroGradient()


def test_bad_labels_are_all_masked() -> None:
    (finding,), _ = check(RULE, dead_evidence())
    assert finding.severity is Severity.ERROR
    assert finding.evidence["mechanism"] == "no-supervised-tokens"
    assert "all 8 applied steps" in finding.message


def test_bad_detached_loss() -> None:
    zero = steps(grad_norm=0.0, grad_norm_measured=0.0)
    (finding,), _ = check(RULE, evidence(trials=[trial(steps=zero), reference()]))
    assert finding.evidence["mechanism"] == "no-gradient"


def test_one_dead_step_is_a_warning() -> None:
    own = trial(steps=[step(1, grad_norm=0.0, grad_norm_measured=0.0), *steps()[1:]])
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert finding.severity is Severity.WARNING


def test_good_skipped_steps_keep_an_old_norm() -> None:
    assert check(RULE, evidence())[0] == []
    skipped = steps(applied=False, grad_norm=0.0, grad_norm_measured=None)
    findings, outcome = check(RULE, evidence(trials=[trial(steps=skipped), reference()]))
    assert findings == []
    assert outcome.outcome is Outcome.SKIPPED

"""R125."""

from tests.unit.rules.factory import check, dead_evidence, evidence, reference, steps, trial

from hotfire.rules.evidence import Outcome, Severity
from hotfire.rules.run import TrainerLogMisleads

RULE = TrainerLogMisleads()


def test_found_printed_zero_for_nan() -> None:
    (finding,), _ = check(RULE, dead_evidence())
    assert finding.severity is Severity.INFO
    assert finding.message.startswith(
        "The Trainer's log prints {'loss': 0.0, 'grad_norm': 0.0} at step 1 where the loss is nan."
    )


def test_found_sentinel() -> None:
    own = trial(steps=steps(logged_grad_norm=1.0, grad_norm_measured=float("nan")))
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert "grad_norm 1" in finding.message


def test_good() -> None:
    assert check(RULE, evidence())[0] == []


def test_skips_a_loop_without_such_a_log() -> None:
    own = trial(steps=steps(logged_loss=None, logged_grad_norm=None))
    assert check(RULE, evidence(trials=[own, reference()]))[1].outcome is Outcome.SKIPPED

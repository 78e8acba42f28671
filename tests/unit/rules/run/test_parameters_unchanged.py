"""R107."""

from tests.unit.rules.factory import check, evidence, reference, steps, trial

from hotfire.rules.evidence import Outcome, Severity
from hotfire.rules.run import ParametersUnchanged

RULE = ParametersUnchanged()


def test_bad_optimizer_holds_other_tensors() -> None:
    own = trial(steps=steps(update_ratio=0.0))
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert finding.severity is Severity.ERROR
    assert "No parameter moves" in finding.message


def test_bad_fp16_at_stage_zero() -> None:
    """The engine's norm looks normal; what reaches the optimizer is 4096 times smaller."""
    own = trial(
        stage=0,
        dtype="fp16",
        steps=steps(loss_scale=4096.0, grad_norm=0.9060, grad_norm_measured=0.9060 / 4096),
    )
    (finding,), _ = check(RULE, evidence(stage=0, dtype="fp16", trials=[own, reference(dtype="fp16")]))
    assert "divided by the loss scale 4096" in finding.message
    assert finding.fix.patch[0].value == 1
    assert finding.alternatives[0].patch[0].path == "/deepspeed/fp16/loss_scale"


def test_good() -> None:
    assert check(RULE, evidence())[0] == []
    scaled = trial(dtype="fp16", steps=steps(loss_scale=4096.0))
    assert check(RULE, evidence(dtype="fp16", trials=[scaled, reference(dtype="fp16")]))[0] == []


def test_good_an_old_deepspeed_prints_the_norm_of_the_scaled_gradient() -> None:
    own = trial(
        stage=0,
        dtype="fp16",
        steps=steps(loss_scale=4096.0, grad_norm=0.9060 * 4096, grad_norm_measured=0.9060),
    )
    own.versions["deepspeed"] = "0.18.2"
    assert check(RULE, evidence(stage=0, dtype="fp16", trials=[own, reference(dtype="fp16")]))[0] == []


def test_skips_when_no_step_could_move() -> None:
    own = trial(steps=steps(learning_rate=0.0, update_ratio=0.0))
    assert check(RULE, evidence(trials=[own, reference()]))[1].outcome is Outcome.SKIPPED

"""R104."""

from tests.unit.rules.factory import check, dead_evidence, evidence, reference, step, steps, trial

from hotfire.rules.evidence import RankStep, Severity
from hotfire.rules.run import NonFiniteGradient

RULE = NonFiniteGradient()
NAN, INF = float("nan"), float("inf")


def test_bad_skipped_by_zero() -> None:
    ranks = [RankStep(rank=1, first_non_finite_parameter="model.layers.1.mlp.down_proj.weight")]
    bad = step(2, applied=False, grad_norm=INF, grad_norm_measured=NAN, ranks=ranks)
    own = trial(steps=[steps()[0], bad, *steps()[2:]])
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert finding.severity is Severity.ERROR
    assert (finding.location.step, finding.location.rank) == (2, 1)
    assert finding.location.parameter == "model.layers.1.mlp.down_proj.weight"
    assert "The step was skipped" in finding.message


def test_bad_applied_by_plain_pytorch() -> None:
    own = trial(steps=steps(grad_norm=NAN, grad_norm_measured=NAN))
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert "destroys the weights" in finding.message


def test_bad_fp16_at_a_scale_of_one_is_no_overflow_of_the_scale() -> None:
    own = trial(
        dtype="fp16", steps=steps(applied=False, grad_norm=INF, grad_norm_measured=NAN, loss_scale=1.0)
    )
    (finding,), _ = check(RULE, evidence(dtype="fp16", trials=[own, reference(dtype="fp16")]))
    assert finding.fix.patch


def test_good_search_for_the_loss_scale() -> None:
    assert check(RULE, evidence())[0] == []
    overflow = {"applied": False, "grad_norm": INF, "grad_norm_measured": NAN}
    own = trial(dtype="fp16", steps=[step(1, loss_scale=65536.0, **overflow), *steps()[1:]])
    assert check(RULE, evidence(dtype="fp16", trials=[own, reference(dtype="fp16")]))[0] == []


def test_good_gradient_of_exactly_zero() -> None:
    assert check(RULE, dead_evidence())[0] == []

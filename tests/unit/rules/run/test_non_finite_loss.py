"""R101."""

from tests.unit.rules.factory import check, crashed, dead_evidence, evidence, reference, step, steps, trial

from hotfire.rules.evidence import MicroBatch, Outcome, RankStep, Severity, Trial, TrialOutcome
from hotfire.rules.run import NonFiniteLoss
from hotfire.rules.run.outcome import outcome_of

RULE = NonFiniteLoss()
NAN = float("nan")


def test_bad_no_token_has_a_label() -> None:
    (finding,), _ = check(RULE, dead_evidence())
    assert finding.severity is Severity.ERROR
    assert finding.evidence["mechanism"] == "no-supervised-tokens"
    assert finding.message.startswith("The loss is nan from step 1, rank 0, micro-batch 1")
    assert (finding.location.step, finding.location.rank, finding.location.row) == (1, 0, 1)


def test_bad_one_micro_batch_of_one_rank() -> None:
    """The other rank's loss is healthy, and the mean over ranks is NaN all the same."""
    ranks = [
        RankStep(rank=0, micro_batches=[MicroBatch(loss=6.1, num_supervised_tokens=40, rows=[1])]),
        RankStep(rank=1, micro_batches=[MicroBatch(loss=NAN, num_supervised_tokens=40, rows=[9, 10])]),
    ]
    bad = [*steps()[:3], step(4, loss=NAN, ranks=ranks), *steps()[4:]]
    (finding,), _ = check(RULE, evidence(trials=[trial(steps=bad), reference()]))
    assert (finding.location.step, finding.location.rank, finding.location.row) == (4, 1, 9)
    assert finding.evidence["mechanism"] == "non-finite-forward"
    assert "1 of 8 steps" in finding.message


def test_bad_masked_micro_batch_is_told_apart_from_numerics() -> None:
    ranks = [RankStep(rank=0, micro_batches=[MicroBatch(loss=NAN, num_supervised_tokens=0, rows=[3])])]
    bad = [step(1, loss=NAN, grad_norm=0.77, grad_norm_measured=0.77, ranks=ranks), *steps()[1:]]
    (finding,), _ = check(RULE, evidence(trials=[trial(steps=bad), reference()]))
    assert finding.evidence["mechanism"] == "masked-micro-batch"


def test_bad_weights_destroyed_at_the_peak() -> None:
    inf = float("inf")
    own = trial(steps=[*steps()[:5], *(step(n, loss=inf, grad_norm=inf, applied=False) for n in (6, 7, 8))])
    given = evidence(trials=[own, reference()])
    (finding,), _ = check(RULE, given)
    assert "this step runs at their peak" in finding.message
    # Updates had been applied: the first fix is a lower rate.
    assert finding.fix.patch[0].path == "/training/learning_rate"
    assert finding.fix.patch[0].value < 1e-3
    assert outcome_of(own, given)[0] is TrialOutcome.DIVERGES


def test_fp16_proposes_bf16() -> None:
    own = trial(dtype="fp16", steps=steps(loss=NAN, applied=False))
    given = evidence(dtype="fp16", trials=[own, reference(dtype="fp16")])
    (finding,), _ = check(RULE, given)
    assert {o.path for o in finding.fix.patch} == {
        "/deepspeed/fp16/enabled",
        "/deepspeed/bf16/enabled",
        "/training/fp16",
        "/training/bf16",
    }


def _found(dtype: str = "float16", *, weights_finite: bool = True, step: int = 1) -> dict[str, object]:
    return {
        "name": "model.layers.1.mlp.down_proj",
        "where": "output",
        "after": "model.layers.1.mlp.act_fn",
        "weights_finite": weights_finite,
        "dtype": dtype,
        "value": "inf",
        "input_absmax": 25600.0,
        "step": step,
    }


def _not_finite(dtype: str, **facts: object) -> Trial:
    own = trial(dtype=dtype, steps=steps(loss=NAN, grad_norm=float("inf"), applied=False))
    own.facts |= facts
    return own


def test_the_causes_of_a_non_finite_forward_are_told_apart() -> None:
    name = "model.layers.1.mlp.down_proj"
    cases = {
        "forward-overflow": _not_finite("fp16", non_finite_module=_found(), first_non_finite_module=name),
        "non-finite-weights": _not_finite(
            "fp16",
            non_finite_module=_found(weights_finite=False),
            non_finite_parameters_at_start=[f"{name}.weight"],
        ),
        "non-finite-forward": _not_finite("bf16", non_finite_module=_found("bfloat16")),
    }
    for mechanism, own in cases.items():
        (finding,), _ = check(RULE, evidence(dtype=own.dtype, trials=[own, reference(dtype=own.dtype)]))
        assert finding.evidence["mechanism"] == mechanism
    (overflow,), _ = check(RULE, evidence(dtype="fp16", trials=[cases["forward-overflow"]]))
    assert "The output of model.layers.1.mlp.down_proj is the first that is not finite" in overflow.message
    assert "25600" in overflow.message
    assert any(o.path == "/deepspeed/bf16/enabled" for o in overflow.fix.patch)
    (weights,), _ = check(RULE, evidence(dtype="fp16", trials=[cases["non-finite-weights"]]))
    assert weights.location.parameter == f"{name}.weight"
    assert weights.fix.patch == []  # no key cures it


def test_an_overflow_after_the_weights_moved_is_not_the_models() -> None:
    own = trial(dtype="fp16", steps=[*steps()[:3], *(step(n, loss=NAN, applied=False) for n in range(4, 9))])
    own.facts["non_finite_module"] = _found(step=4)
    (finding,), _ = check(RULE, evidence(dtype="fp16", trials=[own, reference(dtype="fp16")]))
    assert finding.evidence["mechanism"] == "non-finite-forward"


def test_good_and_skipped() -> None:
    assert check(RULE, evidence())[0] == []
    no_step = evidence(trials=[crashed(message="boom"), reference()])
    assert check(RULE, no_step)[1].outcome is Outcome.SKIPPED
    not_run = evidence(trials=[trial(outcome=TrialOutcome.NOT_EXERCISED, reason="too large"), reference()])
    _, outcome = check(RULE, not_run)
    assert outcome.outcome is Outcome.SKIPPED
    assert "too large" in outcome.reason

"""R110."""

from tests.unit.rules.factory import check, ds_config, evidence, reference, step, trial

from hotfire.patch import apply_patch
from hotfire.rules.evidence import Cluster, Severity, Trial
from hotfire.rules.run import AllStepsSkipped

RULE = AllStepsSkipped()
NAN, INF = float("nan"), float("inf")


def _skipped(scales: list[float], *, dtype: str = "fp16", **changes: float) -> Trial:
    dead = {
        "applied": False,
        "grad_norm": INF,
        "grad_norm_measured": NAN,
        "learning_rate": 0.0,
        "update_ratio": 0.0,
    }
    made = [step(n, loss_scale=scale, **(dead | changes)) for n, scale in enumerate(scales, start=1)]
    return trial(dtype=dtype, steps=made)


def test_bad_overflow_with_forecast() -> None:
    given = evidence(
        dtype="fp16", trials=[_skipped([2.0 ** (16 - n) for n in range(9)]), reference(dtype="fp16")]
    )
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert "loss scale 65536 to 256" in finding.message
    # One halving a step: 256 -> 1 takes eight more.
    assert finding.evidence["steps_to_minimum"] == 8
    patched = apply_patch(given.spec, finding.fix.patch)
    assert patched["deepspeed"]["fp16"]["enabled"] is False
    assert patched["deepspeed"]["bf16"]["enabled"] is True
    assert (patched["training"]["fp16"], patched["training"]["bf16"]) == (False, True)


def test_bad_minimum_of_the_config_is_used() -> None:
    own = _skipped([2.0 ** (16 - n) for n in range(9)])
    own.effective_config["fp16"]["min_loss_scale"] = 256
    (finding,), _ = check(RULE, evidence(dtype="fp16", trials=[own]))
    assert "at its minimum of 256" in finding.message


def test_bad_static_scale() -> None:
    config = ds_config(fp16={"enabled": True, "loss_scale": 2**24}, dtype="fp32")
    given = evidence(dtype="fp16", given=config, trials=[_skipped([2.0**24] * 8), reference(dtype="fp16")])
    (finding,), _ = check(RULE, given)
    assert "stays at" in finding.message
    assert (finding.fix.patch[0].path, finding.fix.patch[0].value) == ("/deepspeed/fp16/loss_scale", 0)


def test_bad_search_from_far_too_high() -> None:
    given = evidence(
        dtype="fp16", trials=[_skipped([2.0 ** (32 - n) for n in range(8)]), reference(dtype="fp16")]
    )
    (finding,), _ = check(RULE, given)
    assert finding.fix.patch[0].path == "/deepspeed/fp16/initial_scale_power"
    assert finding.fix.patch[0].op == "add"


def test_a_gpu_without_bf16_gets_no_bf16() -> None:
    own = _skipped([2.0 ** (16 - n) for n in range(9)])
    (finding,), _ = check(RULE, evidence(dtype="fp16", trials=[own], cluster=Cluster(gpu_type="Tesla V100")))
    assert finding.fix.patch == []


def test_bad_bf16() -> None:
    (finding,), _ = check(RULE, evidence(trials=[_skipped([1.0] * 8, dtype="bf16"), reference()]))
    assert "not finite at any" in finding.message


def test_bad_in_a_log() -> None:
    entries = [
        step(
            n,
            applied=None,
            loss=None,
            logged_loss=2.44,
            logged_grad_norm=0.0,
            grad_norm=None,
            learning_rate=0.0,
        )
        for n in range(1, 6)
    ]
    (finding,), _ = check(RULE, evidence(trials=[trial(steps=entries)]))
    assert "signature" in finding.message


def test_good_search_then_training() -> None:
    assert check(RULE, evidence())[0] == []
    own = _skipped([65536.0, 65536.0])
    own.steps += [step(n + 2, step=n + 2) for n in range(1, 7)]
    assert check(RULE, evidence(dtype="fp16", trials=[own]))[0] == []


def test_a_long_search_is_info() -> None:
    own = _skipped([2.0 ** (32 - n) for n in range(12)])
    own.steps += [step(n, step=n + 12) for n in range(1, 7)]
    (finding,), _ = check(RULE, evidence(dtype="fp16", trials=[own]))
    assert finding.severity is Severity.INFO
    assert finding.fix.patch[0].value == 16

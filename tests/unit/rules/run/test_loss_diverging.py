"""R112."""

import pytest
from tests.unit.rules.factory import check, ds_config, evidence, reference, step, training, trial

from hotfire.patch import apply_patch
from hotfire.rules.evidence import Outcome, Severity, TrialOutcome
from hotfire.rules.run import LossDiverging
from hotfire.rules.run.outcome import outcome_of

RULE = LossDiverging()


def _trial(losses: list[float], **changes: float) -> object:
    return trial(
        steps=[step(n, loss=loss, logged_loss=loss, **changes) for n, loss in enumerate(losses, start=1)]
    )


# Scheduled steps first, then three at the peak; the second curve was measured at a peak of 1.0.
DIVERGING = {
    "scheduled": [2.1, 2.2, 3.9, 7.5, 11.0, 11.2, 12.0, 12.5],
    "measured at the peak": [6.25, 6.1, 5.9, 5.4, 4.85, 23.8, 27.6, 26.0],
    "pretrained, worse than guessing": [2.0, 2.1, 2.0, 1.9, 2.0, 6.8, 8.1, 9.0],
    "random, worse than guessing": [6.25, 6.25, 6.24, 6.25, 6.24, 7.4, 7.9, 8.8],
}
HEALTHY = {
    "falling": [6.25, 6.1, 6.0, 5.9, 5.8, 5.6, 5.5, 5.4],
    "noise": [1.2, 2.4, 1.6, 1.3, 2.5, 1.4, 2.3, 2.4],
    "a rough jump to the peak": [2.0, 2.1, 1.9, 2.0, 2.0, 2.4, 2.7, 2.5],
    "one bad batch": [2.0, 2.1, 9.0, 2.0, 2.0, 1.9, 1.9, 2.0],
    "ends with one bad batch": [2.0, 2.1, 2.0, 2.0, 2.0, 1.9, 1.9, 6.0],
}


@pytest.mark.parametrize("losses", DIVERGING.values(), ids=DIVERGING.keys())
def test_bad(losses: list[float]) -> None:
    own = _trial(losses)
    given = evidence(trials=[own, reference()])
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert outcome_of(own, given)[0] is TrialOutcome.DIVERGES
    (operation,) = finding.fix.patch
    assert operation.path == "/training/learning_rate"
    assert operation.value <= 1e-4


@pytest.mark.parametrize("losses", HEALTHY.values(), ids=HEALTHY.keys())
def test_good(losses: list[float]) -> None:
    assert check(RULE, evidence(trials=[_trial(losses), reference()]))[0] == []


def test_bad_late_in_a_long_log() -> None:
    losses = [6.0 - 0.1 * n for n in range(40)] + [3.0, 4.0, 5.0, 5.5, 5.6, 5.4, 5.6, 5.8, 5.7, 5.8, 5.6, 5.9]
    steps = [
        step(1, step=n, phase="SCHEDULED", loss=None, logged_loss=loss, learning_rate=2e-3)
        for n, loss in enumerate(losses, start=1)
    ]
    (finding,), _ = check(RULE, evidence(trials=[trial(steps=steps)]))
    assert finding.evidence["learning_rate"] == 2e-3


def test_patch_covers_every_place_that_gives_the_rate() -> None:
    config = ds_config(
        optimizer={"type": "AdamW", "params": {"lr": 1.0}},
        scheduler={"type": "WarmupLR", "params": {"warmup_max_lr": 1.0, "warmup_min_lr": "auto"}},
    )
    given = evidence(
        given=config,
        training=training(learning_rate=1.0),
        trials=[_trial(DIVERGING["scheduled"], learning_rate=1.0)],
    )
    (finding,), _ = check(RULE, given)
    patched = apply_patch(given.spec, finding.fix.patch)
    rate = patched["training"]["learning_rate"]
    assert rate == 2e-5
    assert patched["deepspeed"]["optimizer"]["params"]["lr"] == rate
    assert patched["deepspeed"]["scheduler"]["params"]["warmup_max_lr"] == rate


def test_skips_too_few_steps() -> None:
    assert check(RULE, evidence(trials=[_trial([2.0, 9.0, 20.0])]))[1].outcome is Outcome.SKIPPED

"""R115."""

import pytest
from tests.unit.rules.factory import check, evidence, reference, steps, trial

from hotfire.patch import apply_patch
from hotfire.rules.evidence import Evidence, Outcome, Severity, Trial
from hotfire.rules.run import ClippingSaturated

RULE = ClippingSaturated()


def clipped(value: float | None, *, optimizer: str = "AdamW", factor: float = 20.0) -> Trial:
    made = steps()
    for one in made:
        one.grad_norm = one.grad_norm_measured = one.grad_norm * factor
    own = trial(steps=made)
    own.facts |= {"engine_gradient_clipping": value, "optimizer": optimizer}
    return own


def given(own: Trial) -> Evidence:
    return evidence(trials=[own, reference()])


@pytest.mark.parametrize(
    ("value", "optimizer", "severity"),
    [
        (1.0, "AdamW", Severity.INFO),
        (1.0, "SGD", Severity.WARNING),
        (0.01, "AdamW", Severity.WARNING),
    ],
)
def test_bad(value: float, optimizer: str, severity: Severity) -> None:
    made = given(clipped(value, optimizer=optimizer))
    (finding,), _ = check(RULE, made)
    assert finding.severity is severity
    assert finding.location.config_path == "/deepspeed/gradient_clipping"
    patched = apply_patch(made.spec, finding.fix.patch)
    assert patched["deepspeed"]["gradient_clipping"] == patched["training"]["max_grad_norm"] == 20.0


def test_good() -> None:
    for own in (clipped(1.0, factor=5.0), clipped(0.0), clipped(3.0)):
        assert check(RULE, given(own))[0] == []
    one_calm = clipped(1.0)
    one_calm.steps[3].grad_norm_measured = 4.0
    assert check(RULE, given(one_calm))[0] == []


def test_skips() -> None:
    assert check(RULE, evidence())[1].outcome is Outcome.SKIPPED  # nobody said what is clipped at
    own = clipped(1.0)
    own.steps = own.steps[:1]
    assert check(RULE, given(own))[1].outcome is Outcome.SKIPPED

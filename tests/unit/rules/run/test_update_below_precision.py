"""R108. The shares are measured ones: a tiny llama, AdamW, weights of type bf16 and fp32."""

from typing import Any

import pytest
from tests.unit.rules.factory import check, ds_config, evidence, groups, reference, steps, training, trial

from hotfire.patch import apply_patch
from hotfire.rules.evidence import Outcome, Severity, Trial, TrialOutcome
from hotfire.rules.run import UpdateBelowPrecision
from hotfire.rules.run.outcome import outcome_of

RULE = UpdateBelowPrecision()


def lossy(share: float, *, dtypes: list[str] | None = None, rate: float = 1e-3, **changes: Any) -> Trial:
    own = trial(steps=steps(learning_rate=rate, rounded_away_share=share), **changes)
    own.facts |= {"master_dtypes": dtypes or ["bfloat16"], "peak_learning_rate": rate}
    own.groups = groups(rounded_away_share=share)
    return own


@pytest.mark.parametrize(
    ("share", "severity"), [(0.40, Severity.WARNING), (0.92, Severity.ERROR), (0.99, Severity.ERROR)]
)
def test_bad(share: float, severity: Severity) -> None:
    given = evidence(trials=[lossy(share), reference()])
    (finding,), _ = check(RULE, given)
    assert finding.severity is severity
    assert f"{100 * share:.0f} % of the weights' elements" in finding.message
    assert outcome_of(given.trials[0], given)[0] is (
        TrialOutcome.DOES_NOT_TRAIN if severity is Severity.ERROR else TrialOutcome.TRAINS
    )


def test_bad_one_group_stands_still() -> None:
    own = lossy(0.046)
    own.groups[0].rounded_away_share = 1.0
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert finding.severity is Severity.WARNING
    assert "Of norm nothing moves at all." in finding.message


def test_only_a_warning_inside_the_warm_up() -> None:
    own = lossy(0.92)
    own.facts["peak_learning_rate"] = 1e-2
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert finding.severity is Severity.WARNING


def test_the_step_with_the_highest_rate_is_judged() -> None:
    own = lossy(0.99, rate=1e-6)
    own.steps[-1].learning_rate, own.steps[-1].rounded_away_share = 1e-3, 0.02
    assert check(RULE, evidence(trials=[own, reference()]))[1].outcome is Outcome.FOUND  # groups: at the last
    own.groups = groups(rounded_away_share=0.02)
    assert check(RULE, evidence(trials=[own, reference()]))[0] == []


def test_good() -> None:
    for own in (lossy(0.046), lossy(0.0007, dtypes=["float32"]), lossy(0.5, dtypes=["float32"])):
        findings, outcome = check(RULE, evidence(trials=[own, reference()]))
        assert (findings, outcome.outcome) == ([], Outcome.PASSED)


def test_fp32_at_a_rate_that_moves_nothing_is_a_warning() -> None:
    (finding,), _ = check(RULE, evidence(trials=[lossy(0.97, dtypes=["float32"]), reference()]))
    assert finding.severity is Severity.WARNING


def test_fix_leaves_out_the_16_bit_masters() -> None:
    config = ds_config()
    config["bf16"] |= {"bf16_master_weights_and_grads": True, "bf16_optimizer_states": True}
    given = evidence(given=config, trials=[lossy(0.92), reference()])
    (finding,), _ = check(RULE, given)
    assert apply_patch(given.spec, finding.fix.patch)["deepspeed"]["bf16"] == {"enabled": True}


def test_fix_turns_bf16_on_where_the_model_alone_is_bf16() -> None:
    config = ds_config(stage=0, dtype="fp32")
    given = evidence(
        given=config,
        training=training(dtype="fp32"),
        trials=[lossy(0.92, stage=0, dtype="fp32"), reference()],
    )
    (finding,), _ = check(RULE, given)
    patched = apply_patch(given.spec, finding.fix.patch)
    assert patched["deepspeed"]["bf16"] == {"enabled": True}
    assert patched["deepspeed"]["zero_optimization"]["stage"] == 1
    assert patched["training"]["bf16"] is True


def test_skips_what_was_not_measured() -> None:
    assert check(RULE, evidence())[1].outcome is Outcome.SKIPPED

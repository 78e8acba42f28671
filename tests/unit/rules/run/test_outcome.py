"""Trial outcomes: the run rules on one trial alone."""

import pytest
from tests.unit.rules.factory import crashed, dead_evidence, evidence, other_stage, reference, steps, trial

from hotfire.rules.evidence import Evidence, PatchOperation, Role, Trial, TrialOutcome
from hotfire.rules.run.outcome import judge_trial, outcome_of
from hotfire.rules.run.plan import training_of


@pytest.mark.parametrize("role", list(Role))
def test_any_role_is_judged_alike(role: Role) -> None:
    given = evidence()
    assert outcome_of(trial(role), given)[0] is TrialOutcome.TRAINS
    dead = dead_evidence()
    outcome, reason = outcome_of(trial(role, steps=dead.trials[0].steps), given)
    assert outcome is TrialOutcome.DOES_NOT_TRAIN
    assert "no token has a label" in reason


def test_others_in_the_evidence_change_nothing() -> None:
    given = dead_evidence()
    own = given.trials[0]
    alone = Evidence(config=given.config, training=given.training, trials=[own])
    assert outcome_of(own, given)[0] is outcome_of(own, alone)[0]


@pytest.mark.parametrize(
    ("made", "outcome"),
    [
        (crashed(message="boom"), TrialOutcome.CRASHED),
        (crashed(message="boom", outcome=None), TrialOutcome.CRASHED),
        (crashed(message="", kind="Hung", outcome=TrialOutcome.HUNG), TrialOutcome.HUNG),
        (trial(outcome=TrialOutcome.NOT_EXERCISED, reason="too large"), TrialOutcome.NOT_EXERCISED),
        (trial(steps=[], completed=False), TrialOutcome.NOT_EXERCISED),
        (trial(completed=False, reason="the budget ran out"), TrialOutcome.NOT_EXERCISED),
    ],
)
def test_outcomes(made: Trial, outcome: TrialOutcome) -> None:
    given = evidence(trials=[made, reference()])
    seen, reason = outcome_of(made, given)
    assert seen is outcome
    assert reason


def test_fails_like() -> None:
    given = dead_evidence()
    candidate, plain, stage = (judge_trial(own, given) for own in given.trials)
    assert candidate.kinds[0] == "no-supervised-tokens"
    assert candidate.fails_like(plain)
    assert candidate.fails_like(stage)
    other = judge_trial(crashed(message="boom"), given)
    assert not candidate.fails_like(other)
    assert not candidate.fails_like(judge_trial(trial(), given))
    # Crashes are alike by cause, not by being crashes.
    assert not other.fails_like(judge_trial(crashed(kind="KeyError", message="x"), given))


def test_nan_gradients_fail_alike_though_pytorch_does_not_skip() -> None:
    nan, inf = float("nan"), float("inf")
    ours = trial(steps=steps(loss=nan, grad_norm=inf, grad_norm_measured=nan, applied=False))
    theirs = reference(steps=steps(loss=nan, grad_norm=None, grad_norm_measured=nan, loss_scale=None))
    given = evidence(trials=[ours, theirs])
    assert judge_trial(ours, given).fails_like(judge_trial(theirs, given))


def test_a_fix_trial_is_judged_by_its_own_arguments() -> None:
    given = evidence()
    patch = [PatchOperation(op="replace", path="/training/learning_rate", value=5e-5)]
    assert training_of(given, trial(Role.FIX, patch=patch))["learning_rate"] == 5e-5
    assert training_of(given, other_stage(3))["learning_rate"] == 1e-3

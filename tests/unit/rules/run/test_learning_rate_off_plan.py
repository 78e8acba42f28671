"""R114."""

from tests.unit.rules.factory import check, evidence, reference, step, steps, training, trial

from hotfire.rules.evidence import Outcome, PatchOperation, Role, Severity
from hotfire.rules.run import LearningRateOffPlan

RULE = LearningRateOffPlan()


def test_bad_always_zero() -> None:
    own = trial(steps=steps(learning_rate=0.0, planned_learning_rate=0.0))
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert finding.severity is Severity.ERROR
    assert "is 0 at all 8 applied steps" in finding.message


def test_bad_another_curve() -> None:
    own = trial(steps=[step(n, learning_rate=5e-2, planned_learning_rate=1e-3) for n in range(1, 6)])
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert finding.severity is Severity.ERROR
    assert "0.05 at step 1 where 0.001 was asked for; 5 of 5" in finding.message


def test_bad_not_a_number() -> None:
    own = trial(steps=[step(1), step(2, learning_rate=float("nan"))])
    assert "nan at step 2" in check(RULE, evidence(trials=[own, reference()]))[0][0].message


def test_near_the_plan_is_a_warning() -> None:
    own = trial(steps=[step(n, learning_rate=1.3e-3, planned_learning_rate=1e-3) for n in range(1, 6)])
    assert check(RULE, evidence(trials=[own, reference()]))[0][0].severity is Severity.WARNING


def test_good_one_step_of_offset() -> None:
    """WarmupLR runs its first two steps at 0: the neighbour's rate is on plan."""
    assert check(RULE, evidence())[0] == []
    plan = [0.0, 2.5e-4, 5e-4, 7.5e-4, 1e-3]
    late = [
        step(n, learning_rate=plan[max(0, n - 2)], planned_learning_rate=plan[n - 1]) for n in range(1, 6)
    ]
    assert check(RULE, evidence(trials=[trial(steps=late), reference()]))[0] == []


def test_good_the_beginning_of_a_warm_up() -> None:
    own = trial(steps=[step(n, learning_rate=0.0, planned_learning_rate=0.0) for n in (1, 2)])
    assert check(RULE, evidence(trials=[own, reference()]))[0] == []


def test_good_peak_steps_are_not_compared() -> None:
    own = trial(steps=[step(n, learning_rate=9.0 if n > 5 else None) for n in range(1, 9)])
    assert check(RULE, evidence(trials=[own, reference()]))[0] == []


def test_skips_what_was_not_measured() -> None:
    own = trial(steps=steps(learning_rate=None))
    assert check(RULE, evidence(trials=[own, reference()]))[1].outcome is Outcome.SKIPPED


def test_the_plan_is_computed_where_the_trial_has_none() -> None:
    """constant_with_warmup over 4 steps up to 1e-3, from the job's own arguments."""
    as_asked = trial(steps=steps(planned_learning_rate=None))
    findings, outcome = check(RULE, evidence(trials=[as_asked, reference()]))
    assert findings == []
    assert outcome.outcome is Outcome.PASSED

    tenfold = [step(n, learning_rate=2.5e-3 * (n - 1), planned_learning_rate=None) for n in range(1, 6)]
    (finding,), _ = check(RULE, evidence(trials=[trial(steps=tenfold), reference()]))
    assert "0.0025 at step 2" in finding.message


def test_a_fix_trial_is_compared_with_its_own_arguments() -> None:
    patch = [PatchOperation(op="replace", path="/training/learning_rate", value=1e-4)]
    own = [step(n, learning_rate=2.5e-5 * (n - 1), planned_learning_rate=None) for n in range(1, 6)]
    assert check(RULE, evidence(trials=[trial(Role.FIX, patch=patch, steps=own)]))[0] == []


def test_skips_an_unknown_curve() -> None:
    given = evidence(
        training=training(lr_scheduler_type="my_own"),
        trials=[trial(steps=steps(planned_learning_rate=None)), reference()],
    )
    assert check(RULE, given)[1].outcome is Outcome.SKIPPED

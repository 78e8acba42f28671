"""R109."""

from tests.unit.rules.factory import check, dead_steps, evidence, reference, steps, trial

from hotfire.rules.engine import judge
from hotfire.rules.evidence import Outcome, Severity
from hotfire.rules.run import RUN_RULES, DecayOnlyUpdate

RULE = DecayOnlyUpdate()
DECAY = {"num_moved": 21, "num_decayed_only": 21, "update_ratio": 1e-5, "learning_rate": 1e-3}


def test_bad_with_a_gradient_that_the_optimizer_does_not_get() -> None:
    own = trial(steps=steps(**DECAY))
    (finding,), _ = check(RULE, evidence(trials=[own, reference()]))
    assert finding.severity is Severity.ERROR
    assert "21 tensors, by 1e-05 of their size" in finding.message


def test_a_zero_gradient_is_the_cause_and_this_the_remark() -> None:
    own = trial(steps=dead_steps(**DECAY))
    given = evidence(trials=[own])
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.INFO
    names = [f.rule for f in judge(given, rules=RUN_RULES).findings]
    assert names.index("zero-gradient") < names.index("decay-only-update")


def test_good() -> None:
    for decayed in (0, 4, 20):
        own = trial(steps=steps(**(DECAY | {"num_decayed_only": decayed})))
        findings, outcome = check(RULE, evidence(trials=[own, reference()]))
        assert (findings, outcome.outcome) == ([], Outcome.PASSED)
    mixed = trial(steps=steps(**DECAY))
    mixed.steps[-1].num_decayed_only = 0
    assert check(RULE, evidence(trials=[mixed, reference()]))[0] == []


def test_skips_what_rounding_alone_may_move() -> None:
    for changes in ({"update_ratio": 1e-8}, {"learning_rate": 0.0}, {"num_moved": 0}, {"num_moved": None}):
        own = trial(steps=steps(**(DECAY | changes)))
        assert check(RULE, evidence(trials=[own, reference()]))[1].outcome is Outcome.SKIPPED

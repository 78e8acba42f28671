"""Z102."""

from tests.unit.rules.factory import check, crashed, dead_evidence, evidence, other_stage, reference, trial

from hotfire.rules.evidence import Outcome, Severity, Verification
from hotfire.rules.zero import ZeroStageDoesNotTrain

RULE = ZeroStageDoesNotTrain()


def test_bad() -> None:
    own = crashed(message="'weight' must be 2-D", stage=3)
    (finding,), _ = check(RULE, evidence(stage=3, trials=[own, reference(), other_stage(2)]))
    assert finding.severity is Severity.ERROR
    assert finding.message.startswith("ZeRO stage 3 does not train")
    assert finding.fix.verification is Verification.VERIFIED
    assert finding.fix.trial == "stage-2"


def test_bad_without_a_cure() -> None:
    (finding,), _ = check(RULE, evidence(trials=[crashed(message="boom"), reference()]))
    assert finding.fix is None


def test_good_and_not_zero() -> None:
    assert check(RULE, evidence())[0] == []
    assert check(RULE, dead_evidence())[0] == []


def test_skips_without_a_reference() -> None:
    assert check(RULE, evidence(trials=[trial()]))[1].outcome is Outcome.SKIPPED

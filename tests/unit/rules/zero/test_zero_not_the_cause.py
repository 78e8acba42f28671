"""Z101."""

from tests.unit.rules.factory import check, crashed, dead_evidence, evidence, reference

from hotfire.rules.evidence import Severity
from hotfire.rules.zero import ZeroNotTheCause

RULE = ZeroNotTheCause()


def test_found() -> None:
    (finding,), _ = check(RULE, dead_evidence())
    assert finding.severity is Severity.INFO
    assert finding.message.startswith("ZeRO is not the cause: the run without DeepSpeed fails the same way")


def test_good_and_not_when_the_reference_trains() -> None:
    assert check(RULE, evidence())[0] == []
    assert check(RULE, evidence(trials=[crashed(message="boom"), reference()]))[0] == []

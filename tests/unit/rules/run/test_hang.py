"""R121."""

from hotfire.rules.evidence import Severity, TrialOutcome
from hotfire.rules.run import Crash, Hang

from tests.unit.rules.factory import check, crashed, evidence, reference

RULE = Hang()


def _hung(**changes: object) -> object:
    return crashed(
        kind="Hung",
        message="no rank was heard of for 60 s",
        outcome=TrialOutcome.HUNG,
        phase="backward",
        **changes,
    )


def test_bad() -> None:
    given = evidence(stage=3, trials=[_hung(stage=3), reference()])
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert finding.message.startswith("The trial hangs in backward at step 1.")
    assert finding.fix.patch[0].value == 2
    assert check(Crash(), given)[0] == []


def test_bad_leftover_lock_is_named() -> None:
    given = evidence(trials=[_hung(), reference()])
    given.environment.extension_lock = "ext/lock"
    (finding,), _ = check(RULE, given)
    assert "leftover lock" in finding.message


def test_good() -> None:
    assert check(RULE, evidence())[0] == []

"""R121."""

from tests.unit.rules.factory import check, crashed, evidence, reference

from hotfire.rules.engine import judge
from hotfire.rules.evidence import Role, Severity, TrialOutcome, Verdict
from hotfire.rules.run import RUN_RULES, Crash, Hang
from hotfire.rules.run.outcome import outcome_of
from hotfire.rules.zero import ZERO_RULES

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


def test_before_the_job_it_is_the_workers_fault() -> None:
    """A lock in the extension directory stops every trial in init, with and without DeepSpeed."""
    early = {
        "phase": "init",
        "kind": "Hung",
        "message": "no rank made progress",
        "outcome": TrialOutcome.HUNG,
    }
    own = crashed(**early)
    given = evidence(trials=[own, crashed(Role.REFERENCE, **early)])
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.WARNING
    assert finding.message.startswith("The trial hangs in init before the job's model is loaded.")
    assert outcome_of(own, given)[0] is TrialOutcome.NOT_EXERCISED
    judgement = judge(given, rules=[*RUN_RULES, *ZERO_RULES])
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "zero-not-the-cause" not in {f.rule for f in judgement.findings}


def test_good() -> None:
    assert check(RULE, evidence())[0] == []

"""E103."""

from tests.unit.rules.factory import check, evidence

from hotfire.rules.engine import judge
from hotfire.rules.environment import StaleExtensionLock
from hotfire.rules.evidence import Environment, Evidence, Severity, Verdict

RULE = StaleExtensionLock()
LOCK = "torch_extensions/py311_cpu/deepspeed_shm_comm/lock"


def test_bad_in_the_users_own_environment() -> None:
    (finding,), _ = check(RULE, Evidence(environment=Environment(extension_lock=LOCK)))
    assert finding.severity is Severity.ERROR
    assert LOCK in finding.message


def test_the_workers_fault_is_a_warning_and_inconclusive() -> None:
    given = evidence()
    given.environment.extension_lock = LOCK
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.WARNING
    assert judge(given, rules=[RULE]).verdict is Verdict.INCONCLUSIVE


def test_good() -> None:
    assert check(RULE, evidence())[0] == []

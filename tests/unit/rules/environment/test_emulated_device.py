"""E104."""

from tests.unit.rules.factory import check, evidence

from hotfire.rules.engine import judge
from hotfire.rules.environment import EmulatedDevice
from hotfire.rules.evidence import Severity, Verdict

RULE = EmulatedDevice()


def test_found_is_info_and_leaves_the_verdict_alone() -> None:
    given = evidence()
    given.environment.emulated = ["CPU instead of a GPU: no CUDA streams.", "fp16 on a CPU without fp16"]
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.INFO
    assert finding.message == (
        "Emulated here: CPU instead of a GPU: no CUDA streams; fp16 on a CPU without fp16."
    )
    assert judge(given, rules=[RULE]).verdict is Verdict.PASS


def test_good() -> None:
    assert check(RULE, evidence())[0] == []

"""M109."""

from tests.unit.rules.factory import check, evidence

from hotfire.rules.engine import all_rules, judge
from hotfire.rules.evidence import Severity, Verdict
from hotfire.rules.model import UnreadableModel, UnsafeModel

RULE = UnsafeModel()


def test_bad_is_a_warning_and_the_verdict_inconclusive() -> None:
    given = evidence(trials=None, data=None)
    given.model.blocked, given.model.readable = "remote-code", False
    given.model.blocked_detail = "modeling_custom.py"
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.WARNING
    assert "modeling_custom.py" in finding.message
    # What policy refused is not unreadable.
    assert check(UnreadableModel(), given)[0] == []
    judgement = judge(given, rules=[rule for rule in all_rules() if rule.category != "config"])
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.headline.startswith("No verdict: The model was not loaded")


def test_bad_pickle() -> None:
    given = evidence()
    given.model.blocked = "pickle-weights"
    (finding,), _ = check(RULE, given)
    assert "safetensors" in finding.fix.description


def test_good() -> None:
    assert check(RULE, evidence())[0] == []

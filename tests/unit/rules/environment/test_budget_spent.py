"""E105."""

from tests.unit.rules.factory import check, evidence

from hotfire.rules.engine import judge
from hotfire.rules.environment import BudgetSpent
from hotfire.rules.evidence import Severity, Verdict

RULE = BudgetSpent()


def test_bad_names_what_was_not_run_and_the_budget_it_needs() -> None:
    given = evidence()
    given.environment.budget_spent, given.environment.not_run = True, ["stage-3", "fix-1"]
    given.environment.budget_needed_s = 412.3
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.WARNING
    assert finding.message.startswith("The time budget of 300 s ran out; not run: stage-3, fix-1.")
    assert "412 s" in finding.message
    judgement = judge(given, rules=[RULE])
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.headline == "No verdict: The time budget of 300 s ran out; not run: stage-3, fix-1."


def test_good() -> None:
    assert check(RULE, evidence())[0] == []

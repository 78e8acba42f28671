"""Every config rule has a page with an example that it finds and one that it passes, and both are run here.

An example is what `CheckConfig` takes: `{deepspeed, training, cluster, model_config}`.
"""

import json
import re

import pytest

from hotfire import spec as specs
from hotfire import static
from hotfire.rules.engine import Rule, all_rules, judge
from hotfire.rules.evidence import Check, Finding, Outcome
from hotfire.rules.page import page

RULES = [rule for rule in all_rules() if rule.category == "config"]


def example(rule: Rule, word: str) -> dict:
    """The block under "Bad:" or "Good:" of the section Example."""
    section = page(rule).partition("\n## Example\n")[2].partition("\n## ")[0]
    blocks = re.findall(rf"^{word}:\n\n```json\n(.*?)\n```$", section, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1, (
        f"{rule.id} {rule.name}: its page needs one `{word}:` with a json block under Example"
    )
    return json.loads(blocks[0])


def run(rule: Rule, document: dict) -> tuple[list[Finding], Check]:
    model_config = document.pop("model_config", None)
    loaded = specs.load(document, required=("deepspeed",))
    evidence = static.static_evidence(loaded.spec, model_config=model_config)
    judgement = judge(evidence, rules=[rule])
    return judgement.findings, judgement.checks[0]


def test_every_config_rule_is_asked() -> None:
    assert len(RULES) >= 22
    assert [rule.id for rule in RULES][:2] == ["C101", "C102"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_bad_example_is_found(rule: Rule) -> None:
    findings, check = run(rule, example(rule, "Bad"))
    assert check.outcome is Outcome.FOUND, check.reason
    assert all(f.rule_id == rule.id and f.location and f.message for f in findings)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_good_example_passes(rule: Rule) -> None:
    findings, check = run(rule, example(rule, "Good"))
    assert (check.outcome, [f.message for f in findings]) == (Outcome.PASSED, []), check.reason


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_both_examples_can_be_given_to_check_config(rule: Rule) -> None:
    """What a page shows is no more than what the RPC takes."""
    for word in ("Bad", "Good"):
        assert set(example(rule, word)) <= {"deepspeed", "training", "cluster", "model_config"}


def test_the_rules_that_lint_shows_are_those_that_check_config_runs() -> None:
    loaded = specs.load({"deepspeed": {"train_micro_batch_size_per_gpu": 1}}, required=("deepspeed",))
    evidence = static.static_evidence(loaded.spec)
    every = static.judge_static(evidence)
    shown = static.judge_static(evidence, every_rule=False)
    assert len(every.checks) == len(all_rules()) > len(shown.checks)
    assert shown.findings == every.findings
    assert shown.checks == [c for c in every.checks if "a static check looks at" not in (c.reason or "")]

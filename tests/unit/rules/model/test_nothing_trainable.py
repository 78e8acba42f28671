"""M106."""

from tests.unit.rules.factory import check, evidence, training

from hotfire.rules.evidence import Outcome, Severity
from hotfire.rules.model import NothingTrainable

RULE = NothingTrainable()


def test_bad_nothing_is_trainable() -> None:
    given = evidence(training=training(trainable=[r"transformer\.h\.11"]))
    given.model.num_trainable, given.model.unmatched_patterns = 0, [r"transformer\.h\.11"]
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert finding.message.startswith("No parameter is trainable: 'transformer")
    assert finding.location.config_path == "/training/trainable"


def test_bad_everything_is_frozen() -> None:
    given = evidence(training=training(frozen=[".*"]))
    given.model.num_trainable = 0
    (finding,), _ = check(RULE, given)
    assert [(o.op, o.path) for o in finding.fix.patch] == [("remove", "/training/frozen")]


def test_bad_pattern_without_a_match() -> None:
    given = evidence(training=training(frozen=["visual"]))
    given.model.unmatched_patterns = ["visual"]
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert "1 pattern matches nothing" in finding.message


def test_good_and_unknown() -> None:
    assert check(RULE, evidence())[0] == []
    given = evidence()
    given.model.num_trainable = None
    assert check(RULE, given)[1].outcome is Outcome.SKIPPED


def test_peft_targets_are_not_its_business() -> None:
    given = evidence(training=training(peft={"target_modules": ["query_key_value"]}))
    given.model.num_trainable, given.model.unmatched_patterns = None, ["query_key_value"]
    assert check(RULE, given)[0] == []


def test_bad_a_pattern_that_is_none() -> None:
    given = evidence(training=training(frozen=["("]))
    given.model.num_trainable = None
    given.model.peft_error = "training.frozen: '(' is not a regular expression"
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert "not a regular expression" in finding.message

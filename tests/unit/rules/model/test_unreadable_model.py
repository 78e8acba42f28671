"""M110."""

from tests.unit.rules.factory import check, evidence

from hotfire.rules.evidence import Severity
from hotfire.rules.model import UnreadableModel

RULE = UnreadableModel()


def test_bad() -> None:
    given = evidence()
    given.model.readable, given.model.read_error = False, "model-00002-of-00004.safetensors is missing."
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert finding.message == "The model cannot be loaded: model-00002-of-00004.safetensors is missing."


def test_good() -> None:
    assert check(RULE, evidence())[0] == []


def test_bad_the_tokenizer_of_another_model() -> None:
    given = evidence()
    given.model.tokenizer_doubts = ["config.json has eos_token_id 151329, and the tokenizer has 512 tokens"]
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert "does not seem to be of this model" in finding.message
    given.model.tokenizer_doubts = ["eos_token_id 2 of config.json is an ordinary token of the tokenizer"]
    given.model.pretrained = False
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.WARNING

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

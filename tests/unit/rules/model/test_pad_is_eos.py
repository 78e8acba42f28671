"""M102."""

from tests.unit.rules.factory import check, data, evidence, row

from hotfire.patch import apply_patch
from hotfire.rules.evidence import Outcome, Severity
from hotfire.rules.model import PadIsEos

RULE = PadIsEos()


def _given(collator: str, *, pad: int = 2):
    given = evidence(data=data(collator=collator))
    given.model.special_token_ids = {"pad": pad, "eos": 2}
    given.model.pad_candidates = ["<|pad|>"]
    return given


def test_bad() -> None:
    given = _given("LANGUAGE_MODELING")
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.WARNING
    assert apply_patch(given.spec, finding.fix.patch)["training"]["collator"] == "PADDING"
    (other,) = finding.alternatives
    assert apply_patch(given.spec, other.patch)["training"]["pad_token"] == "<|pad|>"


def test_good_most_recipes_have_it_so() -> None:
    assert check(RULE, _given("PADDING"))[0] == []
    assert check(RULE, _given("LANGUAGE_MODELING", pad=3))[0] == []
    no_end = _given("LANGUAGE_MODELING")
    no_end.data.rows = [row(n, has_end_token=False, end_token_trained=None) for n in range(1, 9)]
    assert check(RULE, no_end)[0] == []


def test_skips_without_a_tokenizer() -> None:
    given = evidence()
    given.model.special_token_ids = {}
    assert check(RULE, given)[1].outcome is Outcome.SKIPPED

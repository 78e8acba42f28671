"""M105."""

from tests.unit.rules.factory import check, data, evidence, row, training

from hotfire.patch import apply_patch
from hotfire.rules.evidence import Outcome, Severity
from hotfire.rules.model import LoraTiedEmbeddings

RULE = LoraTiedEmbeddings()


def _given(*, tied: bool = True, sides: list[str] | None = None, **peft: object):
    given = evidence(training=training(peft={"r": 8, "target_modules": ["q_proj", "embed_tokens"], **peft}))
    model = given.model
    model.tied_embeddings, model.adapted_sides = tied, sides or []
    model.embedding_module, model.head_module, model.ties_adapters = "model.embed_tokens", "lm_head", True
    return given


def test_bad_one_side_of_a_tie() -> None:
    given = _given(sides=["embedding"])
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.WARNING
    assert "model.embed_tokens and lm_head are one weight" in finding.message
    assert apply_patch(given.spec, finding.fix.patch)["training"]["peft"]["ensure_weight_tying"] is True
    (other,) = finding.alternatives
    assert apply_patch(given.spec, other.patch)["training"]["peft"]["target_modules"] == ["q_proj"]


def test_bad_new_tokens_that_nothing_trains() -> None:
    given = _given(tied=False)
    given.model.new_tokens = {"<|my_end|>": 510}
    given.data = data([row(n, max_token_id=510) for n in range(1, 9)])
    (finding,), _ = check(RULE, given)
    assert "<|my_end|>" in finding.message
    patched = apply_patch(given.spec, finding.fix.patch)["training"]["peft"]
    assert patched["modules_to_save"] == ["embed_tokens", "lm_head"]
    (other,) = finding.alternatives
    assert apply_patch(given.spec, other.patch)["training"]["peft"]["trainable_token_indices"] == [510]


def test_good() -> None:
    assert check(RULE, _given(sides=["embedding", "head"]))[0] == []
    assert check(RULE, _given(tied=False, sides=["embedding"]))[0] == []
    assert check(RULE, _given())[0] == []
    unused = _given()
    unused.model.new_tokens = {"<|my_end|>": 511}  # no row has it: the largest id is 500
    assert check(RULE, unused)[0] == []


def test_skips_without_an_adapter() -> None:
    assert check(RULE, evidence())[1].outcome is Outcome.SKIPPED
    given = _given()
    given.model.tied_embeddings = None
    assert check(RULE, given)[1].outcome is Outcome.SKIPPED

"""D117."""

from tests.unit.rules.factory import check, data, evidence, row, training

from hotfire.patch import apply_patch
from hotfire.rules.data import PromptInLoss
from hotfire.rules.evidence import Outcome, Severity

RULE = PromptInLoss()
UNMASKED = [row(n, first_supervised=1, num_supervised=39) for n in range(1, 21)]


def test_bad_the_collator_throws_the_mask_away() -> None:
    given = evidence(data=data(UNMASKED, collator="LANGUAGE_MODELING"))
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.WARNING
    assert "DataCollatorForLanguageModeling" in finding.message
    assert finding.location.config_path == "/training/collator"
    assert apply_patch(given.spec, finding.fix.patch)["training"]["collator"] == "PADDING"


def test_bad_a_mask_column_that_nobody_reads() -> None:
    arguments = training()
    del arguments["assistant_only_loss"]
    given = data(
        UNMASKED, format="TOKENIZED", mask_source="all", extra={"mask_columns": {"completion_mask": 20}}
    )
    (finding,), _ = check(RULE, evidence(data=given, training=arguments))
    assert "'completion_mask'" in finding.message
    assert finding.location.config_path == "/data/columns"


def test_bad_the_argument_of_another_format() -> None:
    arguments = training(completion_only_loss=True)
    del arguments["assistant_only_loss"]
    given = evidence(data=data(UNMASKED, mask_source="all"), training=arguments)
    (finding,), _ = check(RULE, given)
    patched = apply_patch(given.spec, finding.fix.patch)["training"]
    assert patched["assistant_only_loss"] is True
    assert "completion_only_loss" not in patched


def test_good_and_not_asked_for() -> None:
    assert check(RULE, evidence())[0] == []
    arguments = training()
    del arguments["assistant_only_loss"]
    given = evidence(data=data(UNMASKED, mask_source="all"), training=arguments)
    assert check(RULE, given)[1].outcome is Outcome.SKIPPED

"""D101: the case the project began with, and its neighbours."""

import dataclasses

import pytest
from tests.unit.rules.factory import (
    check,
    cut_row,
    data,
    dead_evidence,
    evidence,
    reference,
    row,
    step,
    training,
    trial,
)

from hotfire.patch import apply_patch
from hotfire.rules.data import NoSupervisedTokens
from hotfire.rules.evidence import MicroBatch, Outcome, RankStep, Severity

RULE = NoSupervisedTokens()


def test_bad_every_answer_begins_after_the_cut() -> None:
    given = dead_evidence(max_length=64)
    findings, _ = check(RULE, given)

    (finding,) = findings
    assert finding.severity is Severity.ERROR
    assert finding.message.startswith("No row has a supervised token: the answers begin after max_length 64.")
    assert finding.location.config_path == "/training/max_length"
    assert finding.location.row == 1
    assert finding.evidence["num_rows_without_supervised_tokens"] == 20
    assert finding.evidence["causes"] == {"cut": 20}
    # Rows have 120 tokens: the next multiple of 64 keeps them whole.
    (operation,) = finding.fix.patch
    assert (operation.op, operation.path, operation.value) == ("replace", "/training/max_length", 128)
    assert apply_patch(given.spec, finding.fix.patch)["training"]["max_length"] == 128
    assert ["/training/truncation_side"] in [[o.path for o in fix.patch] for fix in finding.alternatives]


def test_good() -> None:
    findings, outcome = check(RULE, evidence())
    assert findings == []
    assert outcome.outcome is Outcome.PASSED


def test_patch_adds_what_the_spec_does_not_have() -> None:
    given = dead_evidence()
    del given.spec["training"]["max_length"]
    (finding,), _ = check(RULE, given)
    assert finding.fix.patch[0].op == "add"


def test_length_stays_within_the_positions_of_the_model() -> None:
    given = dead_evidence()
    given.model.max_positions = 100
    (finding,), _ = check(RULE, given)
    assert finding.fix.patch[0].value == 100
    assert "keeps the whole answer of 0 of 20" in finding.fix.description


def test_one_giant_row_does_not_set_the_length() -> None:
    rows = [cut_row(n) for n in range(1, 20)] + [cut_row(20, length=100_000, prompt=90_000)]
    (finding,), _ = check(RULE, dead_evidence(data=data(rows, max_length=64)))
    assert finding.fix.patch[0].value == 128
    assert "19 of 20" in finding.fix.description


def test_half_of_the_rows() -> None:
    """The loss looks normal: only the statistics of the rows show it."""
    rows = [cut_row(n) if n % 2 else row(n) for n in range(1, 21)]
    (finding,), _ = check(RULE, evidence(data=data(rows, max_length=64)))
    assert finding.severity is Severity.ERROR
    assert finding.message.startswith("10 of 20 rows (50 %) have no supervised token")
    assert "Rows 1, 3, 5, 7, 9 and 5 more" in finding.message


def test_few_rows_that_do_no_harm_are_a_warning() -> None:
    rows = [row(n) for n in range(1, 100)] + [cut_row(100)]
    (finding,), _ = check(RULE, evidence(data=data(rows)))
    assert finding.severity is Severity.WARNING
    assert "Lowered to a warning" in finding.message


def _one_empty_batch(loss: float) -> list:
    ranks = [
        RankStep(
            rank=0,
            micro_batches=[
                MicroBatch(loss=6.0, num_supervised_tokens=40, rows=[1, 2]),
                MicroBatch(loss=loss, num_supervised_tokens=0, rows=[100]),
            ],
        )
    ]
    return [step(1, ranks=ranks, loss=loss if loss else 6.0), *(step(n) for n in range(2, 9))]


def test_few_rows_that_make_the_step_nan_are_an_error() -> None:
    """Outside the Trainer a micro-batch without labels is 0/0."""
    rows = [row(n) for n in range(1, 100)] + [cut_row(100)]
    run = [trial(steps=_one_empty_batch(float("nan"))), reference(steps=_one_empty_batch(float("nan")))]
    given = evidence(data=data(rows), trials=run, training=training(loop="DEEPSPEED"))
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR


def test_micro_batches_emptied_by_the_collator() -> None:
    given = evidence(trials=[trial(steps=_one_empty_batch(float("nan"))), reference()])
    (finding,), _ = check(RULE, given)
    assert finding.severity is Severity.ERROR
    assert (finding.location.step, finding.location.rank, finding.location.micro_batch) == (1, 0, 2)
    assert finding.location.row == 100

    harmless = evidence(trials=[trial(steps=_one_empty_batch(0.0)), reference()])
    (finding,), _ = check(RULE, harmless)
    assert finding.severity is Severity.WARNING


@pytest.mark.parametrize(
    ("mask_source", "words"),
    [("generation", "{% generation %}"), ("labels", "the labels in the data"), ("all", "the collator masks")],
)
def test_mask_that_marks_nothing(mask_source: str, words: str) -> None:
    rows = [
        row(n, num_supervised=0, num_supervised_untruncated=0, first_supervised=None) for n in range(1, 9)
    ]
    (finding,), _ = check(RULE, evidence(data=data(rows, mask_source=mask_source)))
    assert words in finding.message
    assert finding.fix.patch == []


def test_empty_answers() -> None:
    rows = [row(n, num_supervised=0, num_supervised_untruncated=0, empty_answer=True) for n in range(1, 9)]
    (finding,), _ = check(RULE, evidence(data=data(rows)))
    assert "their answers are empty" in finding.message


def test_skips_without_rows() -> None:
    given = evidence(data=data([]), trials=None)
    _, outcome = check(RULE, given)
    assert outcome.outcome is Outcome.SKIPPED
    _, outcome = check(RULE, dataclasses.replace(given, data=None))
    assert outcome.outcome is Outcome.SKIPPED

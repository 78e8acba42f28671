"""C101."""

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, evidence_of, lint, run

from hotfire.rules.config import UnknownKey, UnreadableConfig
from hotfire.rules.evidence import Outcome, Severity

COMMENTED = '{\n  "train_batch_size": 8, // all GPUs\n  "zero_optimization": {"stage": 2},\n}'


@pytest.mark.parametrize(
    ("text", "line", "column", "word"),
    [
        ('{\n  "train_batch_size": 8\n', 3, 1, "closing"),
        ('{"train_batch_size" 8}', 1, 21, "colon"),
        ('{"bf16": {"enabled": True}, "x": 1}', 1, 22, "quotes"),
        ('{\n  "train_batch_size": ${BATCH},\n}', 2, 23, "placeholder"),
        ('{"train_batch_size": MICRO_BATCH}', 1, 22, "placeholder"),
        ('{"a": "{{ batch }}"}', 1, 2, "placeholder"),
        ("[1, 2]", 1, 1, "object"),
        ("", 1, 1, "empty"),
    ],
)
def test_bad_text(text: str, line: int, column: int, word: str) -> None:
    (finding,) = lint(UnreadableConfig, text)
    assert finding.severity is Severity.ERROR
    assert word in finding.message
    assert (finding.location.line, finding.location.column) == (line, column)


def test_the_other_rules_say_that_they_cannot_judge() -> None:
    _, check = run(UnknownKey, evidence_of("{"))
    assert (check.outcome, check.reason) == (Outcome.SKIPPED, "the config could not be read")


def test_bad_duplicate_key() -> None:
    text = '{\n  "fp16": {"enabled": false},\n  "train_batch_size": 8,\n  "fp16": {"enabled": true}\n}'
    (finding,) = lint(UnreadableConfig, text)
    assert finding.severity is Severity.ERROR
    assert finding.location.config_path == "/deepspeed/fp16"
    assert finding.location.line == 4
    assert "lines 2 and 4" in finding.message
    assert cured(UnreadableConfig, text, finding.fix) == []


def test_every_duplicate_is_reported() -> None:
    assert len(lint(UnreadableConfig, '{"a": 1, "a": 2, "b": {"c": 1, "c": 2}}')) == 2


@pytest.mark.parametrize(
    ("loop", "severity"),
    [
        (None, Severity.WARNING),
        ("TRAINER", Severity.ERROR),
        ("ACCELERATE", Severity.ERROR),
        ("DEEPSPEED", None),
    ],
)
def test_hjson_depends_on_who_reads_it(loop: str | None, severity: Severity | None) -> None:
    training = {"loop": loop} if loop else {}
    findings = lint(UnreadableConfig, COMMENTED, training=training)
    assert [f.severity for f in findings] == ([severity] if severity else [])
    if findings:
        assert (findings[0].location.line, findings[0].location.column) == (2, 26)
        assert cured(UnreadableConfig, COMMENTED, findings[0].fix, training=training) == []


def test_accelerate_wants_a_zero_section() -> None:
    config, training = {"train_batch_size": 8}, {"loop": "TRAINER"}
    assert lint(UnreadableConfig, config) == []
    (finding,) = lint(UnreadableConfig, config, training=training)
    assert finding.severity is Severity.ERROR
    assert cured(UnreadableConfig, config, finding.fix, training=training) == []


def test_good() -> None:
    assert lint(UnreadableConfig, HEALTHY) == []
    assert lint(UnreadableConfig, HEALTHY, training={"loop": "TRAINER"}) == []

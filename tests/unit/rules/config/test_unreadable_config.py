"""C101."""

from tests.unit.rules.config.lint import HEALTHY, lint

from hotfire.rules.config import UnreadableConfig


def test_bad_text() -> None:
    (finding,) = lint(UnreadableConfig, '{"zero_optimization": {"stage": 2')
    assert finding.severity == "ERROR"
    assert finding.location.line == 1


def test_bad_duplicate_key() -> None:
    (finding,) = lint(UnreadableConfig, '{\n"train_batch_size": 8,\n"train_batch_size": 16}')
    assert finding.severity == "ERROR"
    assert finding.location.line == 3


def test_good() -> None:
    assert lint(UnreadableConfig, HEALTHY) == []

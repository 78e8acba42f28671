"""C102."""

from tests.unit.rules.config.lint import HEALTHY, lint

from hotfire.rules.config import UnknownKey


def test_bad_section_name_turns_zero_off() -> None:
    text = '{"train_batch_size": 8, "zero_optimisation": {"stage": 2}}'
    (finding,) = lint(UnknownKey, text)
    assert finding.severity == "ERROR"
    assert finding.location.config_path == "/deepspeed/zero_optimisation"
    assert "zero_optimization" in finding.message
    assert [o.op for o in finding.fix.patch] == ["remove", "add"]


def test_bad_key_in_a_strict_section() -> None:
    text = '{"train_batch_size": 8, "zero_optimization": {"stage": 2, "overlap_com": true}}'
    (finding,) = lint(UnknownKey, text)
    assert finding.severity == "ERROR"
    assert "overlap_comm" in finding.message


def test_good_and_comments() -> None:
    assert lint(UnknownKey, HEALTHY) == []
    assert lint(UnknownKey, '{"train_batch_size": 8, "_comment": "mine"}') == []

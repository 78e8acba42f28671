"""C105."""

from tests.unit.rules.config.lint import HEALTHY, lint

from hotfire.rules.config import WrongType


def test_bad_number_as_text() -> None:
    (finding,) = lint(WrongType, '{"train_batch_size": 8, "gradient_accumulation_steps": "8"}')
    assert finding.severity == "ERROR"
    assert finding.location.config_path == "/deepspeed/gradient_accumulation_steps"


def test_bad_fraction_where_an_integer_is_needed() -> None:
    text = '{"train_batch_size": 8, "fp16": {"enabled": true, "min_loss_scale": 0.5}}'
    assert lint(WrongType, text)[0].severity == "ERROR"


def test_good() -> None:
    assert lint(WrongType, HEALTHY) == []

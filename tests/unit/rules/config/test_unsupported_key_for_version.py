"""C104."""

from tests.unit.rules.config.lint import HEALTHY, lint

from hotfire.rules.config import UnsupportedKeyForVersion


def test_bad_removed_feature() -> None:
    (finding,) = lint(UnsupportedKeyForVersion, '{"train_batch_size": 8, "elasticity": {"enabled": false}}')
    assert finding.severity == "ERROR"
    assert finding.location.config_path == "/deepspeed/elasticity"


def test_good() -> None:
    assert lint(UnsupportedKeyForVersion, HEALTHY) == []

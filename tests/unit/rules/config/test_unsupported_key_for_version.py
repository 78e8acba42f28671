"""C104."""

import pytest
from tests.unit.rules.config.lint import HEALTHY, cured, lint

from hotfire.rules.config import UnsupportedKeyForVersion as Rule
from hotfire.rules.evidence import Severity


@pytest.mark.parametrize(
    ("key", "gone"),
    [("compression_training", "0.19.7"), ("amp", "0.19.8"), ("elasticity", "0.19.8"), ("nebula", "0.19.7")],
)
def test_bad_removed_feature(key: str, gone: str) -> None:
    config = {"train_batch_size": 8, key: {}}
    (finding,) = lint(Rule, config)
    assert finding.severity is Severity.ERROR
    assert finding.location.config_path == f"/deepspeed/{key}"
    assert lint(Rule, config, version="0.19.6") == []
    assert len(lint(Rule, config, version=gone)) == 1
    assert cured(Rule, config, finding.fix) == []


@pytest.mark.parametrize(
    ("config", "before", "since"),
    [
        ({"zero_optimization": {"stage": 2, "zenflow": {"topk_ratio": 0.1}}}, "0.17.4", "0.17.5"),
        ({"bf16": {"enabled": True, "bf16_master_weights_and_grads": True}}, "0.18.2", "0.18.3"),
        ({"compile": {"passes": ["autosp"]}}, "0.18.8", "0.18.9"),
        ({"zero_optimization": {"stage": 3, "leaf_module": {}}}, "0.17.6", "0.18.0"),
    ],
)
def test_bad_key_that_came_later(config: dict, before: str, since: str) -> None:
    (finding,) = lint(Rule, config, version=before)
    assert finding.severity is Severity.ERROR
    assert since in finding.message
    assert lint(Rule, config, version=since) == []
    assert cured(Rule, config, finding.fix, version=before) == []
    assert cured(Rule, config, finding.alternatives[0], version=before) == []


def test_a_newer_section_is_ignored_at_the_top_level() -> None:
    (finding,) = lint(Rule, {"torch_autocast": {"enabled": True}}, version="0.17.1")
    assert finding.severity is Severity.WARNING


def test_a_renamed_key_is_moved() -> None:
    config = {"aio": {"thread_count": 2}}
    (finding,) = lint(Rule, config)
    assert finding.severity is Severity.WARNING
    assert finding.fix.patch[-1].path == "/deepspeed/aio/intra_op_parallelism"
    assert cured(Rule, config, finding.fix) == []


def test_good() -> None:
    for version in (None, "0.14.5", "0.17.1", "0.19.8"):
        assert lint(Rule, HEALTHY, version=version) == []

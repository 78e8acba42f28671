"""C121."""

from tests.unit.rules.config.lint import HEALTHY, lint

from hotfire.rules.config import UnsafeSetting
from hotfire.rules.evidence import Severity


def test_bad_monitor_and_nvme() -> None:
    config = {
        "tensorboard": {"enabled": True, "output_path": "/logs"},
        "zero_optimization": {"stage": 3, "offload_optimizer": {"device": "nvme", "nvme_path": "/nvme"}},
    }
    findings = lint(UnsafeSetting, config)
    assert {f.severity for f in findings} == {Severity.INFO}
    paths = {f.location.config_path for f in findings}
    assert "/deepspeed/tensorboard" in paths
    assert "/deepspeed/zero_optimization/offload_optimizer/nvme_path" in paths
    assert all(f.fix is None for f in findings)


def test_good() -> None:
    assert lint(UnsafeSetting, HEALTHY) == []
    assert lint(UnsafeSetting, {"wandb": {"enabled": False}}) == [], "switched off"

"""M108."""

from tests.unit.rules.factory import check
from tests.unit.rules.model.test_will_not_fit import GIB, given

from hotfire.rules.evidence import Outcome, Severity
from hotfire.rules.model import HostMemoryRule

RULE = HostMemoryRule()
OFFLOAD = {"offload_optimizer": {"device": "cpu", "pin_memory": True}}


def host(memory: float, **changes):
    return given(cluster={"host_memory_bytes": str(int(memory * GIB))}, **changes)


def test_bad_offload() -> None:
    (finding,), _ = check(RULE, host(96, stage=3, zero=OFFLOAD))
    assert finding.severity is Severity.ERROR
    assert finding.location.config_path == "/deepspeed/zero_optimization/offload_optimizer"
    assert "offload keeps" in finding.message
    assert "it will not fit" in finding.message
    assert [(o.op, o.path) for o in finding.fix.patch] == [
        ("remove", "/deepspeed/zero_optimization/offload_optimizer")
    ]


def test_bad_loading() -> None:
    (finding,), _ = check(RULE, host(96))
    assert finding.severity is Severity.ERROR
    assert "each of 8 ranks loads the model" in finding.message
    assert [(o.path, o.value) for o in finding.fix.patch] == [("/deepspeed/zero_optimization/stage", 3)]


def test_a_band_that_straddles_is_a_warning() -> None:
    (finding,), _ = check(RULE, host(160, stage=3, zero=OFFLOAD))
    assert finding.severity is Severity.WARNING
    assert "Lowered to a warning" in finding.message


def test_good() -> None:
    assert check(RULE, host(1024))[1].outcome is Outcome.PASSED
    assert check(RULE, host(512, stage=3, zero=OFFLOAD))[1].outcome is Outcome.PASSED


def test_offload_where_no_gpu_would_hold_it_has_no_patch() -> None:
    (finding,), _ = check(RULE, host(96, stage=3, zero=OFFLOAD, gib=10))
    assert finding.fix.patch == []


def test_skipped_without_the_host() -> None:
    _, outcome = check(RULE, given())
    assert (outcome.outcome, outcome.reason) == (Outcome.SKIPPED, "cluster.host_memory_bytes is not given")

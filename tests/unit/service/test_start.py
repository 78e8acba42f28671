"""The second answer, with rules of our own: the real catalogue is tested in its own house."""

import json

import pytest

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Finding, Fix, PatchOperation, Severity
from hotfire.v1 import report_pb2, spec_pb2
from hotfire_service.admission.start import check_start


class _NoPatch(Rule):
    """Blocks, without a patch.

    Why: it is a test. Example: {"broken": true} Fix: none. Source: here.
    """

    id, name, severity, needs, blocks_start = "C901", "test-no-patch", Severity.ERROR, ("config",), True

    def examine(self, evidence):
        if (evidence.config.given or {}).get("broken"):
            yield Finding(message="broken")


class _Patch(_NoPatch):
    id, name = "C902", "test-patch"

    def examine(self, evidence):
        if (evidence.config.given or {}).get("fixable"):
            patch = [PatchOperation(op="remove", path="/deepspeed/fixable")]
            yield Finding(message="fixable", fix=Fix(description="remove it", patch=patch))


class _Data(_NoPatch):
    id, name, needs, blocks_start = "D901", "test-data", ("data",), False

    def examine(self, evidence):
        return []


@pytest.fixture(autouse=True)
def _catalogue(monkeypatch):
    monkeypatch.setattr("hotfire.rules.registry.RULES", (_NoPatch(), _Patch(), _Data()))


def spec(config: dict, **plan) -> spec_pb2.PreflightSpec:
    return spec_pb2.PreflightSpec(
        deepspeed=spec_pb2.DeepSpeedSpec(config_json=json.dumps(config)), plan=spec_pb2.PlanSpec(**plan)
    )


def test_a_good_config_is_queued():
    assert check_start(spec({})).report is None


def test_a_config_with_a_patch_is_queued():
    start = check_start(spec({"fixable": 1}))
    assert [f.rule for f in start.blocking] == ["test-patch"]
    assert start.report is None


def test_without_verification_it_is_finished():
    report = check_start(spec({"fixable": 1}, verify_fixes=False)).report
    assert report is not None
    assert report.verdict == report_pb2.VERDICT_FAIL
    assert report.findings[0].fix.verification == report_pb2.VERIFICATION_NOT_TRIED
    assert "verify_fixes" in report.findings[0].fix.reason
    checks = {c.rule: c for c in report.checks}
    assert checks["test-data"].outcome == report_pb2.OUTCOME_SKIPPED
    assert checks["test-data"].reason == "the config cannot start"


def test_one_finding_without_a_patch_is_enough():
    report = check_start(spec({"fixable": 1, "broken": 1})).report
    assert report is not None
    assert {f.rule for f in report.findings} == {"test-patch", "test-no-patch"}
    fix = next(f.fix for f in report.findings if f.rule == "test-patch")
    assert "test-no-patch" in fix.reason

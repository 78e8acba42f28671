"""The static check: what is worked out once, or kept from the last answer, says the same."""

import json

import pytest

from hotfire import static
from hotfire.dsconfig import inspection
from hotfire.rules.config import common
from hotfire.v1 import preflight_service_pb2 as service_pb2

BAD = {"train_micro_batch_size_per_gpu": "2", "zero_optimisation": {"stage": 2}, "offload_optimizer": {}}


def request(config: dict, version: str | None = None) -> service_pb2.CheckConfigRequest:
    made = service_pb2.CheckConfigRequest()
    made.deepspeed.config_json = json.dumps(config)
    if version is not None:
        made.cluster.versions["deepspeed"] = version
    return made


def test_an_answer_does_not_hang_on_the_ones_before() -> None:
    first = static.check_config(request(BAD))
    for other in ({"train_batch_size": 8}, BAD | {"amp": {}}, {}):
        static.check_config(request(other))
    assert static.check_config(request(BAD)) == first


def test_a_changed_answer_does_not_change_the_next() -> None:
    answer = static.check_config(request(BAD))
    for check in answer.checks:
        check.reason = "changed"
    assert all(check.reason != "changed" for check in static.check_config(request(BAD)).checks)


def test_the_config_is_walked_once_for_all_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    walks = []

    def inspect(given: dict, version: str | None) -> list:
        walks.append(version)
        return inspection.inspect(given, version)

    monkeypatch.setattr(common, "inspect", inspect)
    static.check_config(request(BAD, "0.17.0"))
    assert walks == ["0.17.0"]


def test_another_version_is_another_walk() -> None:
    old, new = (static.check_config(request({"amp": {}}, version)) for version in ("0.19.6", "0.19.8"))
    assert not any(f.rule_id == "C104" for f in old.findings)
    assert any(f.rule_id == "C104" for f in new.findings)


def test_the_document_of_patches_is_the_config_as_given() -> None:
    spec = static.spec_pb2.PreflightSpec(deepspeed=request(BAD).deepspeed)
    evidence = static.static_evidence(spec)
    assert evidence.spec == static.spec_document(spec)
    assert evidence.spec["deepspeed"] == BAD

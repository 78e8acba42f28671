import pytest

from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1 import spec_pb2
from hotfire_service.admission import Violations, check_shape, preflight_key
from hotfire_service.admission.identity import body_hash, check_identity
from hotfire_service.admission.numbers import check_cluster, check_model_numbers, check_plan
from hotfire_service.errors import InvalidRequest
from hotfire_service.settings import ServiceSettings
from hotfire_service.store.settings import StoreSettings


def shape_of(message) -> list[tuple[str, str]]:
    violations = Violations()
    check_shape(message, violations)
    return violations.found


def test_unknown_fields_are_found_in_the_whole_tree():
    request = service_pb2.CreatePreflightRequest()
    request.spec.plan.num_steps = 3
    request.spec.plan.MergeFromString(b"\x98\x3f\x01")  # field 1011, varint
    request.MergeFromString(b"\xa2\x3f\x01x")  # field 1012, bytes
    found = dict(shape_of(request))
    assert set(found) == {"CreatePreflightRequest", "spec.plan"}
    assert "1011" in found["spec.plan"]
    assert "num_steps" in found["spec.plan"]


def test_unknown_enum_numbers_are_found():
    request = service_pb2.CreatePreflightRequest()
    request.spec.training.MergeFromString(spec_pb2.TrainingSpec(loop=3).SerializeToString()[:-1] + b"\x63")
    assert shape_of(request) == [
        ("spec.training.loop", "99 is not one of LOOP_TRAINER, LOOP_ACCELERATE, LOOP_DEEPSPEED")
    ]


def test_free_form_parts_are_left_alone():
    request = service_pb2.CreatePreflightRequest()
    request.spec.deepspeed.config.update({"anything": {"goes": [1, None, {"x": "y"}]}})
    request.spec.data.rows.add().update({"text": "hi"})
    request.spec.training.other["report_to"].string_value = "none"
    request.labels["a"] = "b"
    assert shape_of(request) == []


@pytest.mark.parametrize(
    "name", ["", "x", "preflights/", "preflights/A", "preflights/a/b", "rows/a", "preflights/a.b"]
)
def test_bad_names(name):
    with pytest.raises(InvalidRequest):
        preflight_key(name)


def test_good_name():
    assert preflight_key("preflights/run-1") == "run-1"


def test_identity_violations_come_together():
    violations = Violations()
    request = service_pb2.CreatePreflightRequest(
        preflight_id="Nope!", request_id="has space", labels={"": "x", "ok": "y" * 300}
    )
    check_identity(request, violations)
    assert [f for f, _ in violations.found] == ["preflight_id", "request_id", "labels", "labels['ok']"]


def test_body_hash_leaves_out_the_request_id():
    a = service_pb2.CreatePreflightRequest(request_id="1", labels={"a": "1", "b": "2"})
    b = service_pb2.CreatePreflightRequest(request_id="2", labels={"b": "2", "a": "1"})
    c = service_pb2.CreatePreflightRequest(request_id="1", preflight_id="x")
    assert body_hash(a) == body_hash(b) != body_hash(c)


def test_ranges_of_plan_and_cluster():
    violations = Violations()
    plan = spec_pb2.PlanSpec(num_steps=0, num_ranks=-1, stages=[2, 4, 2])
    plan.time_budget.seconds = -5
    plan.queue_timeout.seconds = 10**9
    check_plan(plan, violations, settings=ServiceSettings(), store=StoreSettings())
    check_cluster(
        spec_pb2.ClusterSpec(num_gpus=4, num_nodes=8, gpu_memory_bytes=-1, num_train_rows=0), violations
    )
    check_model_numbers(spec_pb2.ModelSpec(num_layers=0), violations)
    assert [f for f, _ in violations.found] == [
        "spec.plan.num_steps",
        "spec.plan.num_ranks",
        "spec.plan.time_budget",
        "spec.plan.queue_timeout",
        "spec.plan.stages[1]",
        "spec.plan.stages",
        "spec.cluster.gpu_memory_bytes",
        "spec.cluster.num_train_rows",
        "spec.cluster.num_nodes",
        "spec.model.num_layers",
    ]


def test_good_numbers_pass():
    violations = Violations()
    plan = spec_pb2.PlanSpec(num_steps=8, num_ranks=2, stages=[0, 3])
    plan.time_budget.seconds = 300
    check_plan(plan, violations, settings=ServiceSettings(), store=StoreSettings())
    check_cluster(spec_pb2.ClusterSpec(num_gpus=64, num_nodes=8, data_parallel_size=16), violations)
    assert violations.found == []

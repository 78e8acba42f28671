import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from hotfire import errors
from hotfire.client import Client

TABLE = {
    "INVALID_ARGUMENT": errors.InvalidRequestError,
    "NOT_FOUND": errors.NotFoundError,
    "ALREADY_EXISTS": errors.AlreadyExistsError,
    "PERMISSION_DENIED": errors.PermissionDeniedError,
    "UNAUTHENTICATED": errors.AuthenticationError,
    "RESOURCE_EXHAUSTED": errors.QuotaExceededError,
    "FAILED_PRECONDITION": errors.PreconditionError,
    "DEADLINE_EXCEEDED": errors.DeadlineError,
    "INTERNAL": errors.ServerError,
    "UNIMPLEMENTED": errors.ServerError,
}


def rich_status() -> bytes:
    status = status_pb2.Status(code=3, message="2 problems")
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason="BAD_SPEC", domain="hotfire", metadata={"num": "2"})
    )
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="spec.model", description="is required")
    bad.field_violations.add(field="spec.plan.num_steps", description="must be at most 200")
    status.details.add().Pack(bad)
    return status.SerializeToString()


@pytest.mark.parametrize(("code", "kind"), TABLE.items())
def test_every_status_has_its_exception(service, address, code, kind):
    service.faults["GetPreflight"] = [grpc.StatusCode[code]]
    with Client(address) as client, pytest.raises(kind) as raised:
        client.get_preflight("p1")
    assert type(raised.value) is kind
    assert raised.value.code == code
    assert isinstance(raised.value, errors.HotfireError)


def test_all_violations_come_through(service, address):
    service.faults["GetPreflight"] = [grpc.StatusCode.INVALID_ARGUMENT]
    service.details = rich_status()
    with Client(address) as client, pytest.raises(errors.InvalidRequestError) as raised:
        client.get_preflight("p1")
    error = raised.value
    assert [(v.field, v.description) for v in error.violations] == [
        ("spec.model", "is required"),
        ("spec.plan.num_steps", "must be at most 200"),
    ]
    assert error.reason == "BAD_SPEC"
    assert error.metadata == {"num": "2"}
    assert errors.to_status(error).SerializeToString() == service.details
    assert "spec.plan.num_steps: must be at most 200" in str(error)


def test_details_that_are_no_status_do_not_hide_the_error(service, address):
    service.faults["GetPreflight"] = [grpc.StatusCode.NOT_FOUND]
    service.details = b"\xff\xff not a message"
    with Client(address) as client, pytest.raises(errors.NotFoundError):
        client.get_preflight("p1")


def test_local_errors_have_a_status_too():
    error = errors.SpecError(
        "2 problems", violations=[errors.Violation(field="model", description="is required", line=3)]
    )
    status = errors.to_status(error)
    bad = error_details_pb2.BadRequest()
    assert status.code == 3
    assert status.details[1].Unpack(bad)
    assert bad.field_violations[0].description == "line 3: is required"

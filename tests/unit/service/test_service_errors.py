import grpc
from google.rpc import error_details_pb2

from hotfire_service import errors
from hotfire_service.interceptors.errors import as_service_error
from hotfire_service.store.errors import NotFoundError, StoreUnavailable


def details(error: errors.ServiceError) -> dict[str, object]:
    found = {}
    for packed in error.to_status().details:
        name = packed.TypeName().rpartition(".")[2]
        message = getattr(error_details_pb2, name)()
        packed.Unpack(message)
        found[name] = message
    return found


def test_every_violation_is_in_bad_request():
    error = errors.InvalidRequest([("a.b", "too small"), ("c", "unknown")])
    found = details(error)
    assert [(v.field, v.description) for v in found["BadRequest"].field_violations] == [
        ("a.b", "too small"),
        ("c", "unknown"),
    ]
    assert found["ErrorInfo"].domain == "hotfire"
    assert found["ErrorInfo"].reason == "INVALID_REQUEST"
    assert error.message == "a.b: too small (and 1 more)"
    assert error.to_status().code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_store_errors_are_mapped():
    assert as_service_error(StoreUnavailable("x")).code is grpc.StatusCode.UNAVAILABLE
    missing = as_service_error(NotFoundError("preflights/x"))
    assert missing.code is grpc.StatusCode.NOT_FOUND
    assert details(missing)["ResourceInfo"].resource_name == "preflights/x"


def test_surprise_is_internal_without_its_text():
    error = as_service_error(ValueError("row text: my secret"))
    assert error.code is grpc.StatusCode.INTERNAL
    assert "secret" not in error.message
    assert error.metadata["correlation_id"] in error.message

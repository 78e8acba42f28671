"""The exceptions of the SDK: one root, one class per kind of failure.

A training that fails its preflight is a `Report`, not an exception; `Report.raise_for_verdict()` makes one of
it for those who want one.

| gRPC status | exception |
|---|---|
| INVALID_ARGUMENT, OUT_OF_RANGE | InvalidRequestError (with `violations`) |
| NOT_FOUND | NotFoundError |
| ALREADY_EXISTS | AlreadyExistsError |
| PERMISSION_DENIED | PermissionDeniedError |
| UNAUTHENTICATED | AuthenticationError |
| RESOURCE_EXHAUSTED | QuotaExceededError |
| FAILED_PRECONDITION, ABORTED | PreconditionError |
| UNAVAILABLE | UnavailableError |
| DEADLINE_EXCEEDED | DeadlineError |
| CANCELLED | CallCancelledError |
| every other | ServerError |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import grpc
    from google.rpc import status_pb2

    from hotfire.v1 import preflight_pb2

DETAILS_KEY = "grpc-status-details-bin"
"""Trailing metadata key under which a server sends its google.rpc.Status."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """One thing that is wrong with a request or a spec."""

    field: str
    """Path of the field, such as "training.learning_rate"."""
    description: str
    line: int | None = None
    """Line in the spec file, from 1, where it came from one."""
    column: int | None = None
    value: str | None = None
    """The value as given, shortened."""

    def __str__(self) -> str:
        """`line 4: training.learnig_rate = 2e-4: unknown name; did you mean 'learning_rate'?`."""
        where = f"line {self.line}: " if self.line is not None else ""
        value = f" = {self.value}" if self.value is not None else ""
        field = self.field or "(the whole)"
        return f"{where}{field}{value}: {self.description}"


class HotfireError(Exception):
    """Root of everything this library raises on purpose.

    Attributes:
        message: One line for people.
        code: gRPC status name, such as "NOT_FOUND"; also for what never left this machine.
        reason: Machine-readable reason (ErrorInfo), such as "ARTIFACT_NOT_FOUND"; "" if none was given.
        metadata: The ErrorInfo's metadata.
        violations: Everything that is wrong, field by field.
        status: The server's google.rpc.Status, if it sent one.
    """

    code: str = "UNKNOWN"
    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        status: status_pb2.Status | None = None,
        code: str | None = None,
    ) -> None:
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = list(violations)
        self.status = status
        if code is not None:
            self.code = code
        super().__init__(message)

    @property
    def unsaid(self) -> list[Violation]:
        """The violations; none where the message is the only one."""
        said = {f"{v.field}: {v.description}" for v in self.violations} == {self.message}
        return [] if said else self.violations

    def __str__(self) -> str:
        """The message, then one line per violation that it does not say."""
        return "\n".join([self.message, *(f"  {v}" for v in self.unsaid)])


# --- What never left this machine -------------------------------------------------------------------------


class SpecError(HotfireError):
    """The spec cannot be understood. `violations` has all of it."""

    code = "INVALID_ARGUMENT"


class MissingExtraError(HotfireError):
    """A library is needed that comes with an extra of this package; the text names it."""

    code = "FAILED_PRECONDITION"


class SettingsError(HotfireError):
    """A setting (argument, environment variable, config file) is wrong; the text names its source."""

    code = "INVALID_ARGUMENT"


class NoServerError(SettingsError):
    """No server was named anywhere and there is no embedded one."""

    code = "FAILED_PRECONDITION"


class UploadError(HotfireError):
    """Files cannot be uploaded: unreadable, a link, or over the server's limit."""

    code = "INVALID_ARGUMENT"


class LocalError(HotfireError):
    """The embedded set (Valkey, service, worker) could not be started."""

    code = "UNAVAILABLE"


# --- What the server answered -----------------------------------------------------------------------------


class InvalidRequestError(HotfireError):
    """The request is wrong; `violations` has every field."""

    code = "INVALID_ARGUMENT"


class NotFoundError(HotfireError):
    """No such preflight, artifact or row."""

    code = "NOT_FOUND"


class AlreadyExistsError(HotfireError):
    """The id is taken by something else."""

    code = "ALREADY_EXISTS"


class PermissionDeniedError(HotfireError):
    """The token does not allow it."""

    code = "PERMISSION_DENIED"


class AuthenticationError(HotfireError):
    """No token, or not a valid one."""

    code = "UNAUTHENTICATED"


class QuotaExceededError(HotfireError):
    """A quota or limit is used up."""

    code = "RESOURCE_EXHAUSTED"
    retryable = True


class PreconditionError(HotfireError):
    """Not in this state (deleting a running preflight and the like)."""

    code = "FAILED_PRECONDITION"


class UnavailableError(HotfireError):
    """The server cannot be reached, or is starting or stopping."""

    code = "UNAVAILABLE"
    retryable = True


class DeadlineError(HotfireError, TimeoutError):
    """No answer, or no end, within the time given."""

    code = "DEADLINE_EXCEEDED"
    retryable = True


class CallCancelledError(HotfireError):
    """The call was cancelled."""

    code = "CANCELLED"


class ServerError(HotfireError):
    """A fault of the server."""

    code = "INTERNAL"


# --- What became of a preflight ---------------------------------------------------------------------------


class NoReportError(HotfireError):
    """A preflight ended without a report: FAILED (our fault), CANCELLED or EXPIRED.

    Attributes:
        preflight: The whole record.
    """

    code = "ABORTED"

    def __init__(self, message: str, preflight: preflight_pb2.Preflight) -> None:
        super().__init__(message)
        self.preflight = preflight


class VerdictError(HotfireError):
    """Raised by `Report.raise_for_verdict()`.

    Attributes:
        report: The report.
    """

    code = "FAILED_PRECONDITION"

    def __init__(self, message: str, report: Any) -> None:
        super().__init__(message)
        self.report = report


_BY_STATUS: dict[str, type[HotfireError]] = {
    "INVALID_ARGUMENT": InvalidRequestError,
    "OUT_OF_RANGE": InvalidRequestError,
    "NOT_FOUND": NotFoundError,
    "ALREADY_EXISTS": AlreadyExistsError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "UNAUTHENTICATED": AuthenticationError,
    "RESOURCE_EXHAUSTED": QuotaExceededError,
    "FAILED_PRECONDITION": PreconditionError,
    "ABORTED": PreconditionError,
    "UNAVAILABLE": UnavailableError,
    "DEADLINE_EXCEEDED": DeadlineError,
    "CANCELLED": CallCancelledError,
}


def from_rpc_error(error: grpc.RpcError, *, server: str = "") -> HotfireError:
    """The exception for a failed call (sync or asyncio).

    Args:
        error: What grpc raised.
        server: Address, for the text of UNAVAILABLE.
    """
    code = _code_name(error)
    message = _call(error, "details") or code.replace("_", " ").lower()
    status = status_of(error)
    reason, metadata, violations = _details(status)
    if code == "UNAVAILABLE" and server:
        message = f"cannot reach the server at {server}: {_plain(message)}"
    elif code == "DEADLINE_EXCEEDED" and server:
        message = f"no answer from {server} in time: {message}"
    cls = _BY_STATUS.get(code, ServerError)
    return cls(message, reason=reason, metadata=metadata, violations=violations, status=status, code=code)


#: What grpc says of a failed handshake -> what it means.
_HANDSHAKES = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted: name its authority (--ca-cert, ca_cert=)",
    "Hostname Verification Check failed": "its certificate is for another name than this address",
    "WRONG_VERSION_NUMBER": "it does not speak TLS: leave --tls, or ask its operator",
    "CERTIFICATE_REQUIRED": "it wants a certificate of the client (--client-cert, --client-key)",
    "UNKNOWN_CA": "it does not trust this client's certificate",
    "CERTIFICATE_UNKNOWN": "it does not trust this client's certificate",
    "Socket closed": "it closed the connection at once: it may want TLS (--tls, --ca-cert), or a certificate of the "
    "client (--client-cert)",
}


def _plain(message: str) -> str:
    """The reason of a connection that failed, in words, before what grpc says."""
    meaning = next((text for mark, text in _HANDSHAKES.items() if mark in message), None)
    return message if meaning is None else f"{meaning} ({message})"


def status_of(error: grpc.RpcError) -> status_pb2.Status | None:
    """The google.rpc.Status in a failed call's trailing metadata, if there is one that can be read."""
    from google.protobuf.message import DecodeError
    from google.rpc import status_pb2

    for key, value in _call(error, "trailing_metadata") or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def _details(status: status_pb2.Status | None) -> tuple[str, dict[str, str], list[Violation]]:
    from google.rpc import error_details_pb2

    reason, metadata, violations = "", {}, []
    for detail in status.details if status is not None else ():
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        # Unpack answers False for another type.
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            violations += [Violation(field=v.field, description=v.description) for v in bad.field_violations]
    return reason, metadata, violations


def to_status(error: HotfireError) -> status_pb2.Status:
    """The error as google.rpc.Status: what the server sent, or the same form made here."""
    if error.status is not None:
        return error.status
    from google.rpc import code_pb2, error_details_pb2, status_pb2

    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=error.message)
    reason = error.reason or _reason_of(type(error))
    info = error_details_pb2.ErrorInfo(reason=reason, domain="hotfire", metadata=error.metadata)
    status.details.add().Pack(info)
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations:
            where = f"line {violation.line}: " if violation.line is not None else ""
            bad.field_violations.add(field=violation.field, description=where + violation.description)
        status.details.add().Pack(bad)
    return status


def _reason_of(cls: type[HotfireError]) -> str:
    """MissingExtraError -> MISSING_EXTRA."""
    name = cls.__name__.removesuffix("Error")
    return "".join("_" + c if c.isupper() and i else c for i, c in enumerate(name)).upper()


def _code_name(error: grpc.RpcError) -> str:
    code = _call(error, "code")
    return str(code.name) if code is not None else "UNKNOWN"


def _call(error: grpc.RpcError, name: str) -> Any:
    # A grpc.RpcError raised by a channel that was closed has none of these methods.
    method = getattr(error, name, None)
    return method() if method is not None else None

"""Errors of the front door: each class owns its status code, reason and details.

Every error carries an `ErrorInfo` (domain "hotfire"); the whole `google.rpc.Status` travels in the trailing
metadata `grpc-status-details-bin`. No text of a data row ever stands in one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from hotfire_service.store.records import DOMAIN

#: One violation: (field path, what is wrong and what to do).
Violation = tuple[str, str]

_MAX_VIOLATIONS = 100


class ServiceError(Exception):
    """Root: aborts the call with `code`.

    Args:
        message: Short and actionable.
        metadata: What is variable in the message, for programs.
        details: More google.rpc detail messages, each type at most once.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    reason: str = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        details: Iterable[Message] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.reason
        self.metadata = dict(metadata or {})
        self.details = list(details)

    def to_status(self) -> status_pb2.Status:
        """The google.rpc.Status."""
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)
        number: int = self.code.value[0]
        status = status_pb2.Status(code=number, message=self.message)
        for detail in (info, *self.details):
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        return status


class InvalidRequest(ServiceError):  # noqa: N818 - the condition's name
    """The request is wrong: every violation at once."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_REQUEST"

    def __init__(self, violations: Sequence[Violation], *, reason: str | None = None) -> None:
        shown = violations[:_MAX_VIOLATIONS]
        bad = error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
                for field, description in shown
            ]
        )
        first = f"{violations[0][0]}: {violations[0][1]}"
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        metadata = {"num_violations": str(len(violations))}
        super().__init__(first + more, reason=reason, metadata=metadata, details=[bad])
        self.violations = list(violations)


class NotFound(ServiceError):  # noqa: N818
    """A preflight, a row, an artifact that is not there."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"

    def __init__(self, kind: str, name: str, description: str) -> None:
        info = error_details_pb2.ResourceInfo(resource_type=kind, resource_name=name, description=description)
        super().__init__(f"{name}: {description}", metadata={"resource": name}, details=[info])


class AlreadyExists(ServiceError):  # noqa: N818
    """An id was used before, with another body."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"

    def __init__(self, field: str, value: str) -> None:
        description = f"this {field} was used before with another request; choose another one"
        info = error_details_pb2.ResourceInfo(
            resource_type=f"hotfire.v1.{field}", resource_name=value, description=description
        )
        super().__init__(f"{value}: {description}", metadata={"field": field, "value": value}, details=[info])


class FailedPrecondition(ServiceError):  # noqa: N818
    """Not in this state."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"

    def __init__(self, subject: str, description: str, *, reason: str) -> None:
        failure = error_details_pb2.PreconditionFailure(
            violations=[
                error_details_pb2.PreconditionFailure.Violation(
                    type=reason, subject=subject, description=description
                )
            ]
        )
        super().__init__(f"{subject}: {description}", reason=reason, details=[failure])


class QuotaExceeded(ServiceError):  # noqa: N818
    """Too many, too large."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "QUOTA_EXCEEDED"

    def __init__(
        self,
        subject: str,
        description: str,
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        details: list[Message] = [
            error_details_pb2.QuotaFailure(
                violations=[
                    error_details_pb2.QuotaFailure.Violation(subject=subject, description=description)
                ]
            )
        ]
        if retry_after_s is not None:
            details.append(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=retry_after_s)))
        super().__init__(f"{subject}: {description}", reason=reason, metadata=metadata, details=details)


class Unauthenticated(ServiceError):  # noqa: N818
    """No token, or a wrong one."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class Unavailable(ServiceError):  # noqa: N818
    """Redis is away, or the service is stopping: try again."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"

    def __init__(self, message: str, *, reason: str | None = None, retry_after_s: int = 1) -> None:
        retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=retry_after_s))
        super().__init__(message, reason=reason, details=[retry])


class Internal(ServiceError):  # noqa: N818
    """Our fault; the log has the rest under the correlation id."""

    def __init__(self, correlation_id: str) -> None:
        super().__init__(
            f"internal error; give the operator this id: {correlation_id}",
            metadata={"correlation_id": correlation_id},
        )

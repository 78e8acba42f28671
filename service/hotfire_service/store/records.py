"""Between messages and what Redis holds.

A preflight is one hash. What scripts decide on (state, times, attempt) are plain fields; `spec`, `report`,
`error` and `progress` are serialized messages, opaque to the scripts.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from google.protobuf import any_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from hotfire.v1 import preflight_pb2, report_pb2, spec_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service.store.keys import split_key_id

DOMAIN = "hotfire"
_INTERNAL = 13  # google.rpc.Code.INTERNAL

TERMINAL = frozenset(
    {
        preflight_pb2.STATE_SUCCEEDED,
        preflight_pb2.STATE_FAILED,
        preflight_pb2.STATE_CANCELLED,
        preflight_pb2.STATE_EXPIRED,
    }
)

#: Fields a listing needs: no report.
LIST_FIELDS = (
    "state",
    "spec",
    "labels",
    "progress",
    "verdict",
    "headline",
    "error",
    "attempt",
    "cached_from",
    "create_ms",
    "start_ms",
    "end_ms",
    "expire_ms",
)


def as_state(number: int) -> preflight_pb2.State:
    """An enum value is an int at run time; the stubs call it a class."""
    return cast("preflight_pb2.State", number)


def new_id() -> str:
    """A fresh preflight id."""
    return uuid.uuid4().hex


def name_of(key: str) -> str:
    """The resource name of a key id."""
    return f"preflights/{split_key_id(key)[1]}"


def timestamp(milliseconds: int) -> Timestamp:
    """A protobuf timestamp."""
    stamp = Timestamp()
    stamp.FromMilliseconds(milliseconds)
    return stamp


def to_preflight(key: str, fields: Mapping[bytes, bytes | None]) -> preflight_pb2.Preflight:
    """The message of a record. Fields that were not read stay absent."""

    def number(name: bytes) -> int:
        return int(fields.get(name) or 0)

    preflight = preflight_pb2.Preflight(name=name_of(key))
    preflight.state = as_state(number(b"state"))
    preflight.spec.ParseFromString(fields.get(b"spec") or b"")
    if progress := fields.get(b"progress"):
        preflight.progress.ParseFromString(progress)
    if report := fields.get(b"report"):
        preflight.report.ParseFromString(report)
    elif fields.get(b"verdict"):
        preflight.report.verdict = cast("report_pb2.Verdict", number(b"verdict"))
        preflight.report.headline = (fields.get(b"headline") or b"").decode()
    if error := fields.get(b"error"):
        preflight.error.ParseFromString(error)
    for field in ("create", "start", "end", "expire"):
        if milliseconds := number(f"{field}_ms".encode()):
            getattr(preflight, f"{field}_time").CopyFrom(timestamp(milliseconds))
    for label, value in json.loads(fields.get(b"labels") or b"{}").items():
        preflight.labels[label] = value
    if attempt := number(b"attempt"):
        preflight.attempt = attempt
    if cached_from := fields.get(b"cached_from"):
        preflight.cached_from = cached_from.decode()
    return preflight


# --- Events -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One entry of an event stream."""

    cursor: int
    response: service_pb2.WatchPreflightResponse

    @property
    def is_terminal(self) -> bool:
        """It is the last one."""
        return self.response.WhichOneof("event") == "state" and self.response.state.state in TERMINAL


def state_event(state: preflight_pb2.State) -> bytes:
    """A change of state. The whole preflight of a terminal one is put in when it is read."""
    response = service_pb2.WatchPreflightResponse()
    response.state.state = state
    return response.SerializeToString()


def progress_event(progress: preflight_pb2.Progress) -> bytes:
    """Progress as an event."""
    return service_pb2.WatchPreflightResponse(progress=progress).SerializeToString()


def log_event(message: str) -> bytes:
    """A line for the user."""
    response = service_pb2.WatchPreflightResponse()
    response.log.message = message
    return response.SerializeToString()


def read_events(entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> list[StoredEvent]:
    """Stream entries as events, with cursor, time and attempt filled in."""
    events = []
    for entry_id, fields in entries:
        cursor = int(entry_id.partition(b"-")[0])
        response = service_pb2.WatchPreflightResponse.FromString(fields[b"event"])
        response.cursor = str(cursor)
        response.time.CopyFrom(timestamp(int(fields[b"time_ms"])))
        if attempt := int(fields[b"attempt"] or 0):
            response.attempt = attempt
        events.append(StoredEvent(cursor=cursor, response=response))
    return events


# --- Our own failures -------------------------------------------------------------------------------------


def failure(message: str, *, reason: str, metadata: Mapping[str, str] | None = None) -> status_pb2.Status:
    """The `Preflight.error` of state FAILED: what went wrong with *us*."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=dict(metadata or {}))
    detail = any_pb2.Any()
    detail.Pack(info)
    return status_pb2.Status(code=_INTERNAL, message=message, details=[detail])


def worker_lost(num_attempts: int) -> bytes:
    """The error of a preflight that lost its worker too often, serialized."""
    message = (
        f"the worker was lost {num_attempts} times while it ran this preflight; most often the host ran out "
        "of memory. Ask the operator for the worker's log, or try fewer ranks or layers"
    )
    status = failure(message, reason="WORKER_LOST", metadata={"attempts": str(num_attempts)})
    return status.SerializeToString()


def not_taken_again() -> bytes:
    """The error of a preflight that lost its worker, and which no other worker took in time; serialized."""
    message = "the worker was lost while it ran this preflight, and no other worker took it in time"
    return failure(message, reason="WORKER_LOST").SerializeToString()


def without_rows(spec: spec_pb2.PreflightSpec) -> spec_pb2.PreflightSpec:
    """A copy without inline rows."""
    copy = spec_pb2.PreflightSpec()
    copy.CopyFrom(spec)
    del copy.data.rows[:]
    return copy

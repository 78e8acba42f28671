"""Arguments of the Lua scripts and the meaning of their answers: what `Ledger` and `AsyncLedger` share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.rpc import status_pb2

from hotfire.v1 import preflight_pb2, report_pb2, spec_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service.store import records
from hotfire_service.store.errors import ConflictError, QuotaError, StoreError, UnknownArtifactError
from hotfire_service.store.keys import DEFAULT_TENANT, Keys, key_id
from hotfire_service.store.scripts import Argument
from hotfire_service.store.settings import StoreSettings


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


@dataclass(kw_only=True, slots=True)
class NewPreflight:
    """What `create` is given."""

    preflight_id: str
    spec: spec_pb2.PreflightSpec
    """Without inline rows."""
    pool: str
    queue_timeout_s: float
    body_hash: str
    """Of the request as it came, without its request_id."""
    tenant: str = DEFAULT_TENANT
    request_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    artifacts: Iterable[str] = ()
    """sha256 of every artifact that the spec names."""
    progress: preflight_pb2.Progress | None = None
    report: report_pb2.Report | None = None
    """Given: it is finished at once, SUCCEEDED."""
    cached_from: str = ""
    max_active: int = 0
    """Most queued and running preflights of the tenant; 0: any number."""
    contents: str | None = None
    """Fingerprint of what the spec names and what the pool runs on; None: it is not known."""

    @property
    def key(self) -> str:
        """The key id."""
        return key_id(self.tenant, self.preflight_id)

    @property
    def fingerprint(self) -> str:
        """What two preflights with the same answer share; empty where that is not known.

        The spec without how long it may wait, the pool, and the contents.
        """
        if self.contents is None:
            return ""
        copy = records.without_rows(self.spec)
        for name in ("allow_cached", "queue_timeout", "time_budget"):
            copy.plan.ClearField(name)
        copy.plan.pool = self.pool
        content = copy.SerializeToString(deterministic=True) + self.contents.encode()
        return hashlib.sha256(content).hexdigest()


def create(new: NewPreflight, keys: Keys, settings: StoreSettings) -> list[Argument]:
    """Arguments of `create.lua`."""
    state = preflight_pb2.STATE_QUEUED if new.report is None else preflight_pb2.STATE_SUCCEEDED
    fields: dict[str, Argument] = {
        "state": int(state),
        "tenant": new.tenant,
        "pool": new.pool,
        "spec": new.spec.SerializeToString(),
        "labels": json.dumps(dict(new.labels)),
        "artifacts": " ".join(new.artifacts),
        "queue_timeout_ms": _ms(new.queue_timeout_s),
        "ttl_ms": _ms(settings.record_ttl_s),
        "events_maxlen": settings.events_maxlen,
        "fingerprint": new.fingerprint,
        "cached_from": new.cached_from,
    }
    progress = b""
    if new.progress is not None and new.report is None:
        fields["progress"] = new.progress.SerializeToString()
        progress = records.progress_event(new.progress)
    if new.report is not None:
        fields["report"] = new.report.SerializeToString()
        fields["verdict"] = int(new.report.verdict)
        fields["headline"] = new.report.headline
    request_key = keys.request(new.tenant, new.request_id) if new.request_id else ""
    arguments: list[Argument] = [
        keys.prefix,
        new.key,
        request_key,
        new.body_hash,
        _ms(settings.request_ttl_s),
        new.max_active,
        records.state_event(state),
        progress,
    ]
    for name, value in fields.items():
        arguments += [name, value]
    return arguments


def created(answer: list[Any], new: NewPreflight) -> tuple[str, bool]:
    """(key id, whether it is new).

    Raises:
        ConflictError: request_id or preflight_id was used with another body.
        QuotaError: Too many active preflights.
        UnknownArtifactError: An artifact of the spec is not there.
    """
    match answer:
        case [b"created"]:
            return new.key, True
        case [b"exists", key]:
            return key.decode(), False
        case [b"conflict", name]:
            raise ConflictError(name.decode())
        case [b"quota", active]:
            raise QuotaError(int(active), new.max_active)
        case [b"artifact", sha256]:
            raise UnknownArtifactError(sha256.decode())
    raise StoreError(f"unexpected answer {answer!r}")


def claim(key: str, worker: str, token: str, keys: Keys, settings: StoreSettings) -> list[Argument]:
    """Arguments of `claim.lua`."""
    return [
        keys.prefix,
        key,
        worker,
        token,
        _ms(settings.lease_s),
        settings.max_attempts,
        records.state_event(preflight_pb2.STATE_RUNNING),
        records.state_event(preflight_pb2.STATE_FAILED),
        records.worker_lost(settings.max_attempts),
        records.state_event(preflight_pb2.STATE_CANCELLED),
    ]


def finish(
    key: str,
    token: str,
    state: preflight_pb2.State,
    report: report_pb2.Report | None,
    error: status_pb2.Status | None,
    keys: Keys,
    settings: StoreSettings,
) -> list[Argument]:
    """Arguments of `finish.lua`.

    Raises:
        ValueError: The state is not a terminal one, or the report is too large.
    """
    if state not in records.TERMINAL:
        raise ValueError(f"finish: {state} is not a terminal state")
    serialized = report.SerializeToString() if report is not None else b""
    if len(serialized) > settings.max_report_bytes:
        raise ValueError(
            f"finish: the report has {len(serialized)} bytes, the limit is {settings.max_report_bytes}"
        )
    conclusive = report is not None and report.verdict in (
        report_pb2.VERDICT_PASS,
        report_pb2.VERDICT_WARN,
        report_pb2.VERDICT_FAIL,
    )
    return [
        keys.prefix,
        key,
        token,
        int(state),
        records.state_event(state),
        serialized,
        error.SerializeToString() if error is not None else b"",
        int(report.verdict) if report is not None else "",
        report.headline if report is not None else "",
        int(state == preflight_pb2.STATE_SUCCEEDED and conclusive),
    ]


def cancelling(keys: Keys, key: str) -> list[Argument]:
    """Arguments of `cancel.lua`."""
    progress = preflight_pb2.Progress(phase="cancel", message="the worker is stopping its processes")
    return [
        keys.prefix,
        key,
        records.state_event(preflight_pb2.STATE_CANCELLED),
        progress.SerializeToString(),
        records.progress_event(progress),
    ]


def lost(key: str, keys: Keys, settings: StoreSettings) -> list[Argument]:
    """Arguments of `lost.lua`."""
    return [
        keys.prefix,
        key,
        settings.max_attempts,
        records.state_event(preflight_pb2.STATE_QUEUED),
        records.state_event(preflight_pb2.STATE_FAILED),
        records.worker_lost(settings.max_attempts),
        records.state_event(preflight_pb2.STATE_CANCELLED),
        records.log_event("the worker was lost; the preflight is queued again"),
    ]


def overdue(key: str, keys: Keys) -> list[Argument]:
    """Arguments of `overdue.lua`."""
    return [
        keys.prefix,
        key,
        records.state_event(preflight_pb2.STATE_EXPIRED),
        records.state_event(preflight_pb2.STATE_FAILED),
        records.not_taken_again(),
    ]


def append(key: str, token: str, event: service_pb2.WatchPreflightResponse, keys: Keys) -> list[Argument]:
    """Arguments of `append.lua`. Cursor, time and attempt of the event are set when it is read."""
    bare = service_pb2.WatchPreflightResponse()
    bare.CopyFrom(event)
    for name in ("cursor", "time", "attempt"):
        bare.ClearField(name)
    progress = bare.progress.SerializeToString() if bare.WhichOneof("event") == "progress" else b""
    return [keys.prefix, key, token, bare.SerializeToString(), progress]


def lease_ms(settings: StoreSettings) -> int:
    """The lease in milliseconds."""
    return _ms(settings.lease_s)


def milliseconds(seconds: float) -> int:
    """Seconds as the scripts want them, at least one millisecond."""
    return _ms(seconds)

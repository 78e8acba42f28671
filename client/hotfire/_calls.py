"""What the two clients share: the requests, and the settings' last word. No call is made here."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from typing import Any

from google.protobuf import duration_pb2

from hotfire import wire
from hotfire.config import Settings
from hotfire.errors import DeadlineError, NoServerError
from hotfire.v1 import preflight_pb2, report_pb2, spec_pb2
from hotfire.v1 import preflight_service_pb2 as service_pb2

WAIT_S = 30.0
"""One WaitPreflight call; the server caps it at 60 s."""

NO_SERVER = (
    "no server: give --server HOST:PORT (server=... in Python), set HOTFIRE_SERVER, write "
    'server = "HOST:PORT" into ~/.config/hotfire/config.toml, or install the embedded set: '
    "pip install 'hotfire[local]'"
)


def full_name(name: str) -> str:
    """An id with or without `preflights/` as the resource's name."""
    return name if name.startswith("preflights/") else f"preflights/{name}"


def require_server(settings: Settings) -> Settings:
    """The settings, if they name a server.

    Raises:
        NoServerError: They do not; the text names the four ways.
    """
    if settings.server is None:
        raise NoServerError(NO_SERVER)
    return settings


def create_request(
    spec: spec_pb2.PreflightSpec,
    *,
    request_id: str | None,
    preflight_id: str | None,
    labels: Mapping[str, str] | None,
    validate_only: bool,
) -> service_pb2.CreatePreflightRequest:
    """A CreatePreflight request; it always has a request_id, so that a retry makes no second preflight."""
    request = service_pb2.CreatePreflightRequest(
        spec=spec, request_id=request_id or str(uuid.uuid4()), labels=dict(labels or {})
    )
    if preflight_id is not None:
        request.preflight_id = preflight_id.removeprefix("preflights/")
    if validate_only:
        request.validate_only = True
    return request


def list_request(
    *,
    page_size: int | None,
    page_token: str,
    state: str | None,
    verdict: str | None,
    labels: Mapping[str, str] | None,
) -> service_pb2.ListPreflightsRequest:
    """A ListPreflights request; state and verdict by name, with or without prefix, in any case.

    Raises:
        ValueError: An unknown state or verdict; the text lists the known ones.
    """
    request = service_pb2.ListPreflightsRequest(page_token=page_token, labels=dict(labels or {}))
    if page_size is not None:
        request.page_size = page_size
    if state is not None:
        request.state = _enum(preflight_pb2.State.DESCRIPTOR, state)  # type: ignore[assignment]
    if verdict is not None:
        request.verdict = _enum(report_pb2.Verdict.DESCRIPTOR, verdict)  # type: ignore[assignment]
    return request


def wait_request(name: str, remaining_s: float) -> service_pb2.WaitPreflightRequest:
    """One WaitPreflight call of at most `WAIT_S`."""
    timeout = duration_pb2.Duration()
    timeout.FromMilliseconds(max(1, math.ceil(min(WAIT_S, remaining_s) * 1000)))
    return service_pb2.WaitPreflightRequest(name=name, timeout=timeout)


def not_in_time(name: str, timeout_s: float) -> DeadlineError:
    """The error of a `result` that did not come in time."""
    return DeadlineError(f"{name} has not ended within {timeout_s:g} s; it goes on: hotfire watch {name}")


def _enum(descriptor: Any, name: str) -> int:
    try:
        return wire.enum_number(descriptor, name.upper())
    except ValueError:
        known = [v.name.removeprefix(wire.enum_prefix(descriptor)).lower() for v in descriptor.values[1:]]
        raise ValueError(f"{name!r} is not one of {', '.join(known)}") from None

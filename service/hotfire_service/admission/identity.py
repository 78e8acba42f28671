"""Names, ids and labels of a request."""

from __future__ import annotations

import hashlib
import re

from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire_service import context as call
from hotfire_service.admission.shape import Violations
from hotfire_service.errors import InvalidRequest
from hotfire_service.store.keys import key_id

_ID = re.compile(r"[a-z0-9-]{1,63}")
_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
_MAX_LABELS = 32
_MAX_LABEL_VALUE = 256


def preflight_key(name: str) -> str:
    """The ledger's key id of `preflights/{id}`, for the tenant that is calling.

    Raises:
        InvalidRequest: It is not such a name.
    """
    kind, slash, preflight_id = name.partition("/")
    if not slash or kind != "preflights" or not _ID.fullmatch(preflight_id):
        shown = name[:100]
        raise InvalidRequest(
            [("name", f"{shown!r} is not a name like preflights/my-run-1" if name else "required")]
        )
    return key_id(call.tenant.get(), preflight_id)


def check_identity(request: service_pb2.CreatePreflightRequest, violations: Violations) -> None:
    """request_id, preflight_id and labels of CreatePreflight."""
    if request.HasField("preflight_id") and not _ID.fullmatch(request.preflight_id):
        violations.add(
            "preflight_id",
            f"{request.preflight_id[:100]!r} is not 1 to 63 of lower-case letters, digits and -",
        )
    if request.HasField("request_id") and not _REQUEST_ID.fullmatch(request.request_id):
        violations.add("request_id", "must be 1 to 128 printable ASCII characters without spaces (a UUID)")
    check_labels(request.labels, violations)


def check_labels(labels: object, violations: Violations) -> None:
    """Labels of a request.

    Args:
        labels: A map of text to text.
        violations: Where to put them.
    """
    items = dict(labels)  # type: ignore[call-overload]
    if len(items) > _MAX_LABELS:
        violations.add("labels", f"{len(items)} labels, at most {_MAX_LABELS} are kept")
    for name, value in sorted(items.items()):
        if not _LABEL.fullmatch(name):
            violations.add("labels", f"{name[:100]!r} is not 1 to 63 of letters, digits and . _ / -")
        if len(value) > _MAX_LABEL_VALUE:
            violations.add(
                f"labels[{name!r}]", f"{len(value)} characters, at most {_MAX_LABEL_VALUE} are kept"
            )


def body_hash(request: service_pb2.CreatePreflightRequest) -> str:
    """What makes two requests the same: everything but the request_id."""
    body = service_pb2.CreatePreflightRequest()
    body.CopyFrom(request)
    body.ClearField("request_id")
    return hashlib.sha256(body.SerializeToString(deterministic=True)).hexdigest()

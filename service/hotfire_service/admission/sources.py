"""Where model, data and DeepSpeed config come from, and what this server allows there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hotfire.v1 import spec_pb2
from hotfire_service.admission.shape import Violations
from hotfire_service.settings import ServiceSettings

_ARTIFACT = re.compile(r"artifacts/([0-9a-f]{64})")
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_MAX_CONFIG_BYTES = 2**20


def check_model(model: spec_pb2.ModelSpec, settings: ServiceSettings, violations: Violations) -> str | None:
    """Checks `spec.model`; returns the sha256 of its artifact, if it is one."""
    path = "spec.model"
    source = model.WhichOneof("source")
    if source is None:
        violations.add(path, "exactly one of hub_id, path, uri, artifact is required")
        return None
    value = getattr(model, source)
    if model.HasField("revision") and source != "hub_id":
        violations.add(f"{path}.revision", "only with hub_id")
    if source == "path":
        check_path(value, f"{path}.path", settings, violations)
    elif source == "uri":
        check_uri(value, f"{path}.uri", settings, violations)
    elif source == "hub_id":
        _check_hub(value, f"{path}.hub_id", settings, violations)
    else:
        return _artifact(value, f"{path}.artifact", violations)
    return None


def check_data(data: spec_pb2.DataSpec, settings: ServiceSettings, violations: Violations) -> str | None:
    """Checks `spec.data`; returns the sha256 of its artifact, if it is one."""
    path = "spec.data"
    given = [name for name in ("artifact", "uri", "hub_id") if data.HasField(name)]
    if data.rows:
        given.insert(0, "rows")
    if len(given) != 1:
        what = f"given: {', '.join(given)}" if given else "none was given"
        violations.add(path, f"exactly one of rows, artifact, uri, hub_id is required; {what}")
    if data.HasField("split") and not data.HasField("hub_id"):
        violations.add(f"{path}.split", "only with hub_id")
    if len(data.rows) > settings.max_inline_rows:
        violations.add(
            f"{path}.rows",
            f"{len(data.rows)} inline rows, at most {settings.max_inline_rows} are taken; upload a file",
        )
    if data.HasField("uri"):
        check_uri(data.uri, f"{path}.uri", settings, violations)
    if data.HasField("hub_id"):
        _check_hub(data.hub_id, f"{path}.hub_id", settings, violations)
    if data.HasField("artifact"):
        return _artifact(data.artifact, f"{path}.artifact", violations)
    return None


def check_deepspeed(
    deepspeed: spec_pb2.DeepSpeedSpec, violations: Violations, *, path: str = "spec.deepspeed"
) -> None:
    """Checks that there is a config. What is in it is judged by the rules."""
    source = deepspeed.WhichOneof("source")
    if source is None:
        violations.add(path, "exactly one of config, config_json is required")
    elif source == "config_json" and len(deepspeed.config_json) > _MAX_CONFIG_BYTES:
        violations.add(
            f"{path}.config_json",
            f"{len(deepspeed.config_json)} characters, at most {_MAX_CONFIG_BYTES} are read",
        )


def check_path(value: str, field: str, settings: ServiceSettings, violations: Violations) -> None:
    """A path as the workers see it: absolute, and below an allowed root, with links followed where seen."""
    if not value.startswith("/") or "\0" in value:
        violations.add(field, f"{value[:200]!r} is not an absolute path (as the workers see it)")
        return
    if not settings.allowed_roots:
        violations.add(
            field,
            "this server allows no paths: upload the files, or ask the operator for "
            "HOTFIRE_SERVICE_ALLOWED_ROOTS",
        )
        return
    normal = os.path.normpath(value)
    # The service may not see the workers' files; what it does see must not lead out by a link.
    real = os.path.realpath(normal)
    if not any(_is_below(normal, root) for root in settings.allowed_roots) or not any(
        _is_below(real, os.path.realpath(root)) for root in settings.allowed_roots
    ):
        violations.add(
            field,
            f"{value[:200]!r} is outside the allowed roots: {', '.join(settings.allowed_roots)}; upload it, or allow "
            "its folder with HOTFIRE_SERVICE_ALLOWED_ROOTS and HOTFIRE_WORKER_ALLOWED_ROOTS",
        )


def _is_below(path: str, root: str) -> bool:
    return Path(path).is_relative_to(root)


def check_uri(value: str, field: str, settings: ServiceSettings, violations: Violations) -> None:
    """An fsspec address with one allowed scheme; `file` ones are paths."""
    parts = urlsplit(value)
    scheme = parts.scheme.lower()
    if not scheme or "::" in value:
        violations.add(
            field, f"{value[:200]!r} is not an address like file:///data/train.jsonl or s3://bucket/key"
        )
    elif scheme not in settings.allowed_uri_schemes:
        allowed = ", ".join(settings.allowed_uri_schemes) or "none"
        violations.add(
            field,
            f"the scheme {scheme!r} is not allowed on this server (allowed: {allowed}); upload the file, or "
            "ask the operator for HOTFIRE_SERVICE_ALLOWED_URI_SCHEMES",
        )
    elif scheme == "file":
        if parts.netloc not in ("", "localhost"):
            violations.add(field, f"{value[:200]!r} names a host; write file:///path")
        else:
            check_path(unquote(parts.path), field, settings, violations)


def _check_hub(value: str, field: str, settings: ServiceSettings, violations: Violations) -> None:
    if not settings.hub_access:
        violations.add(
            field,
            "this server does not reach the Hugging Face hub: upload the files, give a path that the workers "
            "see, or ask the operator for HOTFIRE_SERVICE_HUB_ACCESS",
        )
    if not _HUB_ID.fullmatch(value):
        violations.add(field, f"{value[:200]!r} is not a hub id like org/name")


def _artifact(value: str, field: str, violations: Violations) -> str | None:
    match = _ARTIFACT.fullmatch(value)
    if match is None:
        violations.add(field, f"{value[:200]!r} is not a name like artifacts/<64 hexadecimal digits>")
        return None
    return match.group(1)

"""Hotfire: a few real steps of your training job before it takes the cluster.

    report = hotfire.check(model="./model", data="data.jsonl", deepspeed="ds_config.json", training={...})
    report.raise_for_verdict()

Names are loaded when they are first used: `import hotfire` and `import hotfire.rules` load neither grpc nor
protobuf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hotfire import aio
    from hotfire._check import check
    from hotfire._training import training_arguments
    from hotfire.client import Client, PreflightHandle
    from hotfire.diagnosis import Diagnosis, diagnose
    from hotfire.errors import (
        AlreadyExistsError,
        AuthenticationError,
        DeadlineError,
        HotfireError,
        InvalidRequestError,
        LocalError,
        NoReportError,
        NoServerError,
        NotFoundError,
        PermissionDeniedError,
        PreconditionError,
        QuotaExceededError,
        ServerError,
        SettingsError,
        SpecError,
        UnavailableError,
        UploadError,
        VerdictError,
        Violation,
    )
    from hotfire.report import Report
    from hotfire.spec import load as load_spec

_HOME = {
    "training_arguments": "hotfire._training",
    "Client": "hotfire.client",
    "PreflightHandle": "hotfire.client",
    "check": "hotfire._check",
    "Diagnosis": "hotfire.diagnosis",
    "diagnose": "hotfire.diagnosis",
    "Report": "hotfire.report",
} | dict.fromkeys(
    (
        "AlreadyExistsError",
        "AuthenticationError",
        "DeadlineError",
        "HotfireError",
        "InvalidRequestError",
        "LocalError",
        "NoReportError",
        "NoServerError",
        "NotFoundError",
        "PermissionDeniedError",
        "PreconditionError",
        "QuotaExceededError",
        "ServerError",
        "SettingsError",
        "SpecError",
        "UnavailableError",
        "UploadError",
        "VerdictError",
        "Violation",
    ),
    "hotfire.errors",
)

__all__ = [
    "AlreadyExistsError",
    "AuthenticationError",
    "Client",
    "DeadlineError",
    "Diagnosis",
    "HotfireError",
    "InvalidRequestError",
    "LocalError",
    "NoReportError",
    "NoServerError",
    "NotFoundError",
    "PermissionDeniedError",
    "PreconditionError",
    "PreflightHandle",
    "QuotaExceededError",
    "Report",
    "ServerError",
    "SettingsError",
    "SpecError",
    "UnavailableError",
    "UploadError",
    "VerdictError",
    "Violation",
    "aio",
    "check",
    "diagnose",
    "load_spec",
    "training_arguments",
]


def __getattr__(name: str) -> Any:
    """Loads a public name (PEP 562)."""
    import importlib

    if name == "aio":
        return importlib.import_module("hotfire.aio")
    if name == "load_spec":
        return importlib.import_module("hotfire.spec").load
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'hotfire' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return sorted([*globals(), *__all__])

"""Is what the embedded set needs installed? Looked up, not imported."""

from __future__ import annotations

import importlib.util

from hotfire.errors import MissingExtraError, NoServerError

#: What the extras bring: one module each is enough to tell.
_LOCAL = ("celery", "redis", "pydantic_settings", "structlog", "psutil", "grpc_health")
_TRAIN = ("torch", "deepspeed", "transformers")


def missing(modules: tuple[str, ...]) -> list[str]:
    """Those that cannot be imported here."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def is_installed() -> bool:
    """Whether the service and the worker can run here (Redis aside)."""
    return not missing(_LOCAL)


def require_installed(no_server: str = "") -> None:
    """Checks that the embedded set can run.

    Args:
        no_server: The text to fail with if it was not asked for, but is the last resort.

    Raises:
        NoServerError: It is not installed, and was only the last resort.
        MissingExtraError: It was asked for, and something is missing.
    """
    absent = missing(_LOCAL)
    if absent and no_server:
        raise NoServerError(no_server)
    if absent:
        raise MissingExtraError(f"the embedded set needs {', '.join(absent)}: pip install 'hotfire[local]'")
    if absent := missing(_TRAIN):
        raise MissingExtraError(
            f"the embedded worker trains in this environment, which lacks {', '.join(absent)}: "
            "pip install 'hotfire[local,train]'"
        )


def require_service() -> None:
    """Checks that the service can run here.

    Raises:
        MissingExtraError: Something is missing.
    """
    if absent := missing(("celery", "redis", "pydantic_settings", "structlog", "grpc_health")):
        raise MissingExtraError(f"the service needs {', '.join(absent)}: pip install 'hotfire[service]'")


def require_worker() -> None:
    """Checks that a worker can run here.

    Raises:
        MissingExtraError: Something is missing.
    """
    if absent := missing(("celery", "redis", "pydantic_settings", "psutil")):
        raise MissingExtraError(f"a worker needs {', '.join(absent)}: pip install 'hotfire[worker]'")

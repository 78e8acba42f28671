"""What can go wrong in the store. The front door turns these into gRPC statuses."""

from __future__ import annotations


class StoreError(Exception):
    """Root of the store's errors."""


class StoreUnavailable(StoreError):  # noqa: N818 - the condition's name
    """Redis, or the place where artifacts lie, cannot be reached."""


class NotFoundError(StoreError):
    """No such preflight (or it has expired)."""

    def __init__(self, preflight_id: str) -> None:
        super().__init__(f"there is no preflight {preflight_id!r}")
        self.preflight_id = preflight_id


class ConflictError(StoreError):
    """A `request_id` or `preflight_id` was used before, with another body."""

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} was used before with another request")
        self.field = field


class RunningError(StoreError):
    """A running preflight cannot be deleted."""


class QuotaError(StoreError):
    """The tenant has too many preflights that are not finished."""

    def __init__(self, num_active: int, limit: int) -> None:
        super().__init__(f"{num_active} preflights are queued or running, the limit is {limit}")
        self.num_active = num_active
        self.limit = limit


class UnknownArtifactError(StoreError):
    """A spec names an artifact that is not (or no longer) there."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"there is no artifact artifacts/{sha256}")
        self.sha256 = sha256


class ArtifactError(StoreError):
    """The content of an artifact is not what it must be."""


class ArtifactMissing(ArtifactError):  # noqa: N818 - the condition's name
    """The artifact is not there (any more)."""


class ArtifactTooLarge(ArtifactError):  # noqa: N818 - the condition's name
    """Over a size limit, packed or unpacked."""

    def __init__(self, what: str, limit_bytes: int) -> None:
        super().__init__(f"{what} is over the limit of {limit_bytes} bytes")
        self.limit_bytes = limit_bytes

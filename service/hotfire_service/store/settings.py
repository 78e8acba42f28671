"""Settings that the service and the workers must agree on."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_SCHEMES = ("redis://", "rediss://", "unix://", "valkey://", "valkeys://", "valkey+unix://")


def _default_artifacts() -> str:
    return str(Path("~/.cache/hotfire/artifacts").expanduser())


class StoreSettings(BaseSettings):
    """Environment variables `HOTFIRE_STORE_*`; give the service and every worker the same values."""

    model_config = SettingsConfigDict(env_prefix="HOTFIRE_STORE_", extra="forbid")

    redis_url: str = "redis://127.0.0.1:6379/0"
    """Ledger and Celery broker: `redis://`, `rediss://` or `unix:///path`."""
    key_prefix: str = Field(default="hotfire:", pattern=r"^[A-Za-z0-9:_.-]+$")
    """Before every key, so that several installations can share one Redis."""
    artifacts_url: str = Field(default_factory=_default_artifacts)
    """A directory that the service and the workers share, or any fsspec address (`s3://bucket/path`)."""
    record_ttl_s: float = Field(default=7 * 86400.0, gt=0)
    """How long a finished preflight is kept."""
    artifact_ttl_s: float = Field(default=86400.0, gt=0)
    """How long an artifact is kept after its upload or last use; longer while a queued or running preflight
    names it."""
    request_ttl_s: float = Field(default=86400.0, gt=0)
    """How long a `request_id` is remembered."""
    events_maxlen: int = Field(default=10_000, ge=10)
    """Events kept per preflight; a watcher with an older cursor gets `reset`."""
    lease_s: float = Field(default=20.0, gt=0)
    """A worker that does not renew its claim for so long has lost it."""
    max_attempts: int = Field(default=3, ge=1)
    """Runs of one preflight that may end in a lost worker; then it is FAILED."""
    worker_ttl_s: float = Field(default=12.0, gt=0)
    """A worker without a heartbeat (one every 3 s) for so long is not alive: `ListPools` counts it no more."""
    pool_memory_s: float = Field(default=7 * 86400.0, gt=0)
    """A pool without any live worker for so long is forgotten."""
    max_time_budget_s: float = Field(default=1800.0, gt=0)
    """The largest `plan.time_budget`; with `overhead_s` it bounds the run of a task."""
    overhead_s: float = Field(default=600.0, gt=0)
    """What a run may take beside its trials: fetching, preparing, reporting."""
    soft_shutdown_s: float = Field(default=15.0, ge=0)
    """What a stopping worker gives its running task."""
    max_report_bytes: int = Field(default=2 * 2**20, gt=0)
    """A `Report` stays under this (contract: 2 MiB)."""
    max_unpacked_bytes: int = Field(default=2 * 2**30, gt=0)
    """The most that an artifact may hold when decompressed or unpacked."""
    max_unpacked_files: int = Field(default=10_000, gt=0)
    """The most files that a model artifact may hold."""
    redis_timeout_s: float = Field(default=5.0, gt=0)
    """For connecting to Redis and for one command."""

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        if not value.startswith(_SCHEMES):
            raise ValueError(f"{value!r} does not start with one of {', '.join(_SCHEMES)}")
        return value

    @property
    def time_limit_s(self) -> int:
        """The longest that one run of a task may take."""
        return int(self.max_time_budget_s + self.overhead_s)

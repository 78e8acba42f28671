"""Settings of a worker: environment variables `HOTFIRE_WORKER_*`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _default_cache() -> Path:
    return Path(os.environ.get("HOTFIRE_CACHE") or Path("~/.cache/hotfire").expanduser())


class WorkerSettings(BaseSettings):
    """What this worker serves, and what it lets a job do."""

    model_config = SettingsConfigDict(env_prefix="HOTFIRE_WORKER_", extra="ignore")

    pool: str = "default"
    """The pool whose queue it takes from."""
    slots: int | None = Field(default=None, ge=1)
    """Preflights at a time, each with a warm process of its own; absent: 1 on a CPU, else as many as the GPUs
    allow."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices_per_slot: int = Field(default=1, ge=1)
    """GPUs of a slot."""
    max_ranks: int = Field(default=8, ge=1)
    """Ranks of a trial at most, on a CPU."""
    memory_bytes: int | None = Field(default=None, gt=0)
    """Host memory of all slots together; absent: what the machine (or the cgroup) has."""
    launcher: Literal["warm", "cold"] = "warm"
    """`cold` starts every trial with torchrun: slower, for debugging and other environments."""
    allowed_roots: Annotated[list[str], NoDecode] = Field(default_factory=list)
    """Folders below which `path` and `file://` are read: JSON list or a:b:c."""
    allowed_uri_schemes: Annotated[list[str], NoDecode] = Field(default_factory=lambda: ["file"])
    """fsspec schemes that may be opened: JSON list or a:b:c."""
    max_fetch_bytes: int = Field(default=64 * 2**30, gt=0)
    """The most that is fetched for one source."""
    hub_access: bool = False
    remote_code: bool = False
    """Run code that lies in a model folder."""
    pickle_weights: bool = False
    """Load weights from pickle files."""
    redact: bool = False
    """Drop row texts from every report, whatever the spec says."""
    cache_dir: Path = Field(default_factory=_default_cache)
    heartbeat_s: float = Field(default=5.0, gt=0)

    @field_validator("allowed_roots", "allowed_uri_schemes", mode="before")
    @classmethod
    def _items(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return [item for item in value.split(os.pathsep) if item]

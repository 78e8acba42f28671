"""Settings of a worker: environment variables `HOTFIRE_WORKER_*`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hotfire_service.store.queue import DEFAULT_POOL
from hotfire_workers.library_sets import read_sets

_Items = Annotated[list[str], NoDecode]


def _default_cache() -> Path:
    for name in ("HOTFIRE_CACHE_DIR", "HOTFIRE_CACHE"):
        if given := os.environ.get(name):
            return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hotfire"


class WorkerSettings(BaseSettings):
    """What this worker serves, and what it lets a job do. Where the store is, `HOTFIRE_STORE_*` says."""

    model_config = SettingsConfigDict(env_prefix="HOTFIRE_WORKER_", extra="forbid")

    # --- What it serves -----------------------------------------------------------------------------------
    pool: str = Field(default=DEFAULT_POOL, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """The pool whose queue it takes from."""
    slots: int | None = Field(default=None, ge=1)
    """Preflights at a time, each with a warm process of its own; absent: 1 on a CPU, else as many as the GPUs
    allow."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: GPUs if the driver shows any, else the CPU."""
    devices: _Items = Field(default_factory=list)
    """GPUs to use, by index or UUID: JSON list, or "0,1"; several workers on one machine share its GPUs so. Also auto,
    cpu or cuda, for `device`. Empty: all that the driver shows (and CUDA_VISIBLE_DEVICES leaves)."""
    devices_per_slot: int = Field(default=1, ge=1)
    """GPUs of a slot."""
    max_ranks: int = Field(default=8, ge=1)
    """Ranks of a trial at most, on a CPU."""
    launcher: Literal["warm", "cold"] = "warm"
    """`cold` starts every trial with torchrun: slower, for debugging and other environments."""
    python: str | None = None
    """The interpreter of the training environment; absent: this one."""
    library_sets: Annotated[dict[str, Path] | Path | None, NoDecode] = None
    """Other versions of libraries for jobs that name them in `cluster.versions`: a folder whose sub-folders are sets
    (`pip install --no-deps --target` makes one), or a JSON map, name -> folder."""
    warm_library_sets: int = Field(default=2, ge=1)
    """Library sets of a slot that are warm at a time."""
    library_set_idle_s: float = Field(default=900.0, gt=0)
    """A library set that no job has asked for for so long is ended."""
    cache_dir: Path = Field(default_factory=_default_cache)
    """Run directories, warm processes, what set-up has learnt."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    metrics_address: str | None = None
    """"HOST:PORT" of the plain HTTP side port: `/metrics` for Prometheus, `/livez`, `/readyz` (see
    `hotfire_workers.metrics`). Absent: none. It asks for no token and holds no secret; keep it on loopback or an
    internal address."""

    # --- What a spec may ask for --------------------------------------------------------------------------
    allowed_roots: _Items = Field(default_factory=list)
    """Folders below which `path` and `file://` are read: JSON list or a:b:c."""
    allowed_uri_schemes: _Items = Field(default_factory=lambda: ["file"])
    """fsspec schemes that may be opened: JSON list or a:b:c."""
    hub_access: bool = False
    """Models and data may come from the Hugging Face hub."""
    remote_code: bool = False
    """Run code that lies in a model folder."""
    pickle_weights: bool = False
    """Load weights from pickle files."""
    redact: bool = False
    """Drop row texts from every report, whatever the spec says."""

    # --- How much -----------------------------------------------------------------------------------------
    memory_bytes: int | None = Field(default=None, gt=0)
    """Host memory of all slots together; absent: what the machine (or the cgroup) has."""
    memory_share: float = Field(default=0.85, gt=0, le=1)
    """Share of a slot's memory that the forecast may fill."""
    max_fetch_bytes: int = Field(default=64 * 2**30, gt=0)
    """The most that is fetched for one source."""
    max_fix_trials: int = Field(default=16, ge=0)
    """Fix trials of one preflight."""
    max_bisect_trials: int = Field(default=32, ge=0)
    """Trials of the search for guilty keys."""
    collective_timeout_s: float = Field(default=60.0, gt=0)
    """Ranks that wait for each other for so long are hung."""

    # --- Rhythm -------------------------------------------------------------------------------------------
    heartbeat_s: float = Field(default=3.0, gt=0)
    """Between two heartbeats to the ledger; `HOTFIRE_STORE_WORKER_TTL_S` (12) is what a silent worker gets."""
    poll_s: float = Field(default=1.0, gt=0)
    """Between two looks at whether somebody wants the preflight cancelled."""

    @field_validator("allowed_roots", "allowed_uri_schemes", mode="before")
    @classmethod
    def _items(cls, value: Any) -> Any:
        """A JSON list, or items between colons."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return [item for item in value.split(os.pathsep) if item]

    @field_validator("devices", mode="before")
    @classmethod
    def _device_names(cls, value: Any) -> Any:
        """A JSON list, or items between commas."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return [str(item) for item in json.loads(value)]
        return [item.strip() for item in value.split(",") if item.strip()]

    @model_validator(mode="after")
    def _one_kind_of_device(self) -> Self:
        if len(self.devices) == 1 and self.devices[0] in ("auto", "cpu", "cuda"):
            if self.device not in ("auto", self.devices[0]):
                raise ValueError(f"devices {self.devices[0]!r} contradicts device {self.device!r}")
            self.device, self.devices = self.devices[0], []  # type: ignore[assignment]  # just looked at
        if self.devices and self.device == "cpu":
            raise ValueError(f"devices {','.join(self.devices)!r} are GPUs, and device is 'cpu'")
        return self

    @field_validator("allowed_roots")
    @classmethod
    def _roots(cls, value: list[str]) -> list[str]:
        roots = []
        for root in value:
            path = os.path.normpath(Path(root).expanduser())
            if not Path(path).is_absolute():
                raise ValueError(f"{root!r} is not an absolute path")
            roots.append(path)
        return roots

    @field_validator("library_sets", mode="before")
    @classmethod
    def _sets(cls, value: Any) -> Any:
        """A JSON map, or a folder. Read here, so that a wrong folder is told at start."""
        if isinstance(value, str):
            value = json.loads(value) if value.lstrip().startswith("{") else value.strip() and Path(value)
        if not value:
            return None
        if isinstance(value, Path):
            value = value.expanduser().absolute()
        read_sets(value)
        return value

    @field_validator("cache_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

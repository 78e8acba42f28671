"""Settings of the service: flags, environment `HOTFIRE_SERVICE_*`, a TOML file."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from hotfire_service.store.keys import DEFAULT_TENANT
from hotfire_service.store.queue import DEFAULT_POOL
from hotfire_service.store.settings import StoreSettings
from hotfire_service.tokens import TENANT

CONFIG_VARIABLE = "HOTFIRE_SERVICE_CONFIG"

_Items = Annotated[list[str], NoDecode]


class ServiceSettings(BaseSettings):
    """Flags win over the environment, the environment over the file that `HOTFIRE_SERVICE_CONFIG` names."""

    # A wrong setting is told without its value: it may be a token.
    model_config = SettingsConfigDict(
        env_prefix="HOTFIRE_SERVICE_", extra="forbid", hide_input_in_errors=True
    )

    # --- Where --------------------------------------------------------------------------------------------
    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs a token and TLS (or `allow_insecure`)."""
    port: int = Field(default=50051, ge=0, le=65535)
    """0: any free one; the readiness line says which."""
    redis_url: str | None = None
    """Over `HOTFIRE_STORE_REDIS_URL`."""
    artifacts_url: str | None = None
    """Over `HOTFIRE_STORE_ARTIFACTS_URL`."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    metrics_address: str | None = None
    """"HOST:PORT" of the plain HTTP side port: `/metrics` for Prometheus, `/livez`, `/readyz`. Absent: none. It asks
    for no token and holds no secret; keep it on loopback or an internal address."""

    # --- Who ----------------------------------------------------------------------------------------------
    token: SecretStr | None = None
    """The one token, of tenant "default"."""
    tokens: dict[str, SecretStr] = Field(default_factory=dict)
    """Tenant -> token. Tenants see neither each other's preflights nor each other's artifacts."""
    tokens_file: Path | None = None
    """TOML with the SHA-256 of tokens (see `hotfire_service.tokens`); read again when it changes. Besides `token` and
    `tokens`, which are for one machine: whoever can read the environment can read those."""
    tls_cert_file: Path | None = None
    """PEM: the server's certificate, then its chain. This and the next two are read again when they change."""
    tls_key_file: Path | None = None
    """PEM: its private key, not encrypted."""
    tls_client_ca_file: Path | None = None
    """Given: clients must show a certificate of this authority (mutual TLS), besides a token where one is wanted."""
    allow_insecure: bool = False
    """Listen beyond loopback without token or TLS: only behind something that does both."""
    health: Literal["open", "closed"] = "open"
    """`closed`: `grpc.health.v1.Health` wants a token, too; a probe that has none then fails."""
    reflection: Literal["open", "closed", "off"] = "open"
    """`closed`: reflection wants a token, too. true and false mean open and off."""

    # --- What a spec may ask for --------------------------------------------------------------------------
    allowed_roots: _Items = Field(default_factory=list)
    """Folders (as the workers see them) below which `path` and `file://` are allowed: JSON list or a:b:c."""
    allowed_uri_schemes: _Items = Field(default_factory=lambda: ["file"])
    """fsspec schemes that workers may open: JSON list or a:b:c."""
    hub_access: bool = False
    """Whether `hub_id` is allowed: workers then reach the Hugging Face hub."""
    remote_code: bool = False
    """Announced in GetServerInfo; the workers' own setting decides."""
    pools: _Items = Field(default_factory=list)
    """Pools that are known even before any of their workers has come up: JSON list or a:b:c."""
    default_pool: str = DEFAULT_POOL
    """The pool of a spec that names none."""

    # --- How much -----------------------------------------------------------------------------------------
    max_message_bytes: int = Field(default=8 * 2**20, ge=2**20)
    max_upload_bytes: int = Field(default=256 * 2**20, gt=0)
    max_inline_rows: int = Field(default=1000, ge=0)
    max_ranks: int = Field(default=64, ge=1)
    max_steps: int = Field(default=200, ge=1)
    max_queue_timeout_s: float = Field(default=86400.0, gt=0)
    max_active: int = Field(default=200, ge=0)
    """Queued and running preflights of one tenant; 0: any number."""

    # --- Rhythm -------------------------------------------------------------------------------------------
    heartbeat_s: float = Field(default=15.0, gt=0)
    """A silent watch stream says that it is alive."""
    sweep_s: float = Field(default=5.0, gt=0)
    """Between two sweeps of the reaper."""
    revoke_after_s: float = Field(default=6.0, ge=0)
    """A running preflight that is still there so long after its cancellation has its task terminated."""
    stop_grace_s: float = Field(default=5.0, ge=0)
    """What calls in progress get when the service stops."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not used
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not used
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Adds the TOML file below the environment."""
        sources = [init_settings, env_settings]
        if path := os.environ.get(CONFIG_VARIABLE):
            if not Path(path).is_file():
                raise ValueError(f"{CONFIG_VARIABLE}: there is no file {path!r}")
            sources.append(TomlConfigSettingsSource(settings_cls, toml_file=path))
        return tuple(sources)

    @field_validator("allowed_roots", "allowed_uri_schemes", "pools", mode="before")
    @classmethod
    def _items(cls, value: Any) -> Any:
        """A JSON list, or items between colons."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return json.loads(value)
        return [item for item in value.split(os.pathsep) if item]

    @field_validator("reflection", mode="before")
    @classmethod
    def _reflection(cls, value: Any) -> Any:
        """Once it was a bool."""
        text = str(value).lower()
        return {"true": "open", "1": "open", "false": "off", "0": "off"}.get(text, value)

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

    @field_validator("pools", "default_pool")
    @classmethod
    def _pool_names(cls, value: Any) -> Any:
        for pool in [value] if isinstance(value, str) else value:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", pool):
                raise ValueError(f"{pool!r} is not a pool name (letters, digits, . _ -)")
        return value

    @field_validator("tokens")
    @classmethod
    def _tenants(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for tenant, token in value.items():
            if not TENANT.fullmatch(tenant):
                raise ValueError(f"{tenant!r} is not a tenant name (lower-case letters, digits, -)")
            if len(token.get_secret_value()) < 8:
                raise ValueError(f"the token of {tenant!r} is shorter than 8 characters")
        return value

    @model_validator(mode="after")
    def _is_safe(self) -> ServiceSettings:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file go together")
        if self.tls_client_ca_file is not None and not self.uses_tls:
            raise ValueError("tls_client_ca_file needs tls_cert_file and tls_key_file")
        if not self.is_loopback and not self.allow_insecure:
            if not self.wants_token:
                raise ValueError(
                    f"host {self.host!r} is not loopback and no token is set: set HOTFIRE_SERVICE_TOKENS_FILE "
                    "(hotfire serve token new makes an entry) and the TLS files, or "
                    "HOTFIRE_SERVICE_ALLOW_INSECURE=true behind a proxy that does both"
                )
            if not self.uses_tls:
                raise ValueError(
                    f"host {self.host!r} is not loopback: a token is not accepted over plaintext. Set "
                    "HOTFIRE_SERVICE_TLS_CERT_FILE and HOTFIRE_SERVICE_TLS_KEY_FILE"
                )
        return self

    @property
    def is_loopback(self) -> bool:
        """Nobody outside this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.tls_cert_file is not None

    @property
    def wants_token(self) -> bool:
        """Whether a call without a token is refused."""
        return bool(self.all_tokens) or self.tokens_file is not None

    @property
    def is_insecure(self) -> bool:
        """Others than this machine can reach it, and token or TLS is missing."""
        return not self.is_loopback and not (self.wants_token and self.uses_tls)

    @property
    def all_tokens(self) -> dict[str, str]:
        """Tenant -> token."""
        found = {tenant: token.get_secret_value() for tenant, token in self.tokens.items()}
        if self.token is not None:
            found[DEFAULT_TENANT] = self.token.get_secret_value()
        return found

    def store(self) -> StoreSettings:
        """The store's settings with this service's own values over them."""
        own = {"redis_url": self.redis_url, "artifacts_url": self.artifacts_url}
        given: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
        return StoreSettings(**given)

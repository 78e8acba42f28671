"""Where the server is and how to speak to it: argument > environment > config file.

| setting | argument | environment | config file |
|---|---|---|---|
| address | `server` | `HOTFIRE_SERVER` | `server = "host:50051"` |
| token | `token` | `HOTFIRE_TOKEN` | `token = "..."` |
| token in a file | | `HOTFIRE_TOKEN_FILE` | `token_file = "/path/token"` |
| TLS | `tls` | `HOTFIRE_TLS` | `tls = true` |
| CA certificate | `ca_cert` | `HOTFIRE_CA_CERT` | `ca_cert = "/path/ca.pem"` |
| client certificate | `client_cert` | `HOTFIRE_CLIENT_CERT` | `client_cert = "/path/client.pem"` |
| its key | `client_key` | `HOTFIRE_CLIENT_KEY` | `client_key = "/path/client.key"` |

A CA or client certificate turns TLS on. A token file is read at every call, so that it can be renewed under a running
program.

The config file is `HOTFIRE_CONFIG`, else `~/.config/hotfire/config.toml`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotfire.errors import SettingsError

DEFAULT_PORT = 50051
TokenProvider = Callable[[], str]
_KEYS = {
    "server": str,
    "token": str,
    "token_file": str,
    "tls": bool,
    "ca_cert": str,
    "client_cert": str,
    "client_key": str,
}
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How to reach a server."""

    server: str | None = None
    """Address "host:port"; None: none was named."""
    source: str | None = None
    """Where the address came from, for error texts."""
    token: str | TokenProvider | None = field(default=None, repr=False)
    tls: bool = False
    ca_cert: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None


def resolve(
    *,
    server: str | None = None,
    token: str | TokenProvider | None = None,
    tls: bool | None = None,
    ca_cert: str | os.PathLike[str] | None = None,
    client_cert: str | os.PathLike[str] | None = None,
    client_key: str | os.PathLike[str] | None = None,
) -> Settings:
    """Merges arguments, environment and config file.

    Raises:
        SettingsError: A value is wrong; the text names where it stands.
    """
    path = config_path()
    file = _read(path)
    environment = {
        k: os.environ[f"HOTFIRE_{k.upper()}"] for k in _KEYS if os.environ.get(f"HOTFIRE_{k.upper()}")
    }
    address, source = server, "argument server"
    if address is None and "server" in environment:
        address, source = environment["server"], "HOTFIRE_SERVER"
    if address is None and "server" in file:
        address, source = file["server"], str(path)
    files = {
        key: given or environment.get(key) or file.get(key)
        for key, given in (("ca_cert", ca_cert), ("client_cert", client_cert), ("client_key", client_key))
    }
    if (files["client_cert"] is None) != (files["client_key"] is None):
        raise SettingsError("client_cert and client_key go together")
    if tls is None and "tls" in environment:
        tls = _boolean(environment["tls"], "HOTFIRE_TLS")
    if tls is None:
        tls = file.get("tls", any(files.values()))
    if address is not None:
        address, tls = _address(address, tls, source)
    return Settings(
        server=address,
        source=source if address is not None else None,
        token=token or _token(environment) or _token(file),
        tls=tls,
        ca_cert=_existing(files["ca_cert"], "CA certificate"),
        client_cert=_existing(files["client_cert"], "client certificate"),
        client_key=_existing(files["client_key"], "client key"),
    )


def config_path() -> Path:
    """The config file that would be read."""
    if given := os.environ.get("HOTFIRE_CONFIG"):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "hotfire" / "config.toml"


def cache_dir() -> Path:
    """The folder for everything this library writes by itself: `HOTFIRE_CACHE`, else ~/.cache/hotfire."""
    if given := os.environ.get("HOTFIRE_CACHE"):
        return Path(given).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "hotfire"


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        if os.environ.get("HOTFIRE_CONFIG"):
            raise SettingsError(f"HOTFIRE_CONFIG names {path}, which does not exist") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: {error}") from None
    for key, value in values.items():
        if key not in _KEYS:
            raise SettingsError(f"{path}: unknown key {key!r}; known are {', '.join(_KEYS)}")
        if not isinstance(value, _KEYS[key]):
            raise SettingsError(f"{path}: {key} must be a {_KEYS[key].__name__}")
    return values


def _address(address: str, tls: bool, source: str) -> tuple[str, bool]:
    """Strips a scheme (grpc://, grpcs://, http://, https://) and adds the default port."""
    scheme, separator, rest = address.partition("://")
    if separator and scheme in ("grpc", "http"):
        address = rest.rstrip("/")
    elif separator and scheme in ("grpcs", "https"):
        address, tls = rest.rstrip("/"), True
    elif separator and scheme not in ("dns", "unix", "ipv4", "ipv6"):
        raise SettingsError(f"{source}: {scheme}:// is not an address; write host:port")
    if not address:
        raise SettingsError(f"{source}: the address is empty; write host:port")
    if address.startswith(("unix:", "dns:", "ipv4:", "ipv6:")):
        return address, tls
    host, colon, port = address.rpartition(":")
    if address.endswith("]") or not colon:
        return f"{address}:{DEFAULT_PORT}", tls
    if address.count(":") > 1 and not host.endswith("]"):
        return f"[{address}]:{DEFAULT_PORT}", tls
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"{source}: {port!r} in {address!r} is not a port; write host:port")
    return address, tls


def _boolean(text: str, source: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise SettingsError(f"{source}: must be true or false, got {text!r}")


def _token(source: dict[str, str]) -> str | TokenProvider | None:
    """The token of one source: itself, or the file that holds it."""
    if token := source.get("token"):
        return token
    if not (given := source.get("token_file")):
        return None
    path = Path(given).expanduser()
    read_token(path)
    return lambda: read_token(path)


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        SettingsError: It cannot be read, or is empty.
    """
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(f"cannot read the token file {path}: {why}") from None
    if not token:
        raise SettingsError(f"the token file {path} is empty")
    return token


def _existing(path: str | os.PathLike[str] | None, what: str) -> Path | None:
    if path is None:
        return None
    file = Path(path).expanduser()
    if not file.is_file():
        raise SettingsError(f"the {what} {file} does not exist")
    return file

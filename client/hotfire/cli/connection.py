"""From the options to a client: a server that was named, or the embedded set."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from hotfire import config
from hotfire._calls import NO_SERVER
from hotfire._watch import PATIENCE_S
from hotfire.cli import options
from hotfire.client import Client
from hotfire.errors import SettingsError

#: A dead embedded set does not come back.
_LOCAL_PATIENCE_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """The options that say where the server is."""

    server: str | None = None
    token: str | None = field(default=None, repr=False)
    tls: bool | None = None
    ca_cert: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None


_OPTIONS: dict[str, Any] = {
    "server": options.Server,
    "token": options.Token,
    "tls": options.Tls,
    "ca_cert": options.CaCert,
    "client_cert": options.ClientCert,
    "client_key": options.ClientKey,
}


def reaches_server(command: Callable[..., int]) -> Callable[..., int]:
    """Gives a command the options of `Where` in place of its parameter `where`.

    Typer makes one option of each parameter and knows no groups of them.
    """
    hints = get_type_hints(command, include_extras=True)
    signature = inspect.signature(command)
    own = [p.replace(annotation=hints[p.name]) for p in signature.parameters.values() if p.name != "where"]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in _OPTIONS.items()
    ]

    def run(**given: Any) -> int:
        where = Where(**{name: given.pop(name) for name in _OPTIONS})
        return command(**given, where=where)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *shared)}
    run.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]  # PEP 362
    return run


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """A client, and what is special about its server."""

    client: Client
    ephemeral: bool = False
    """The server is ours and ends with the command."""
    patience_s: float = PATIENCE_S


def client_of(where: Where) -> Client:
    """A client of a server that was named.

    Raises:
        NoServerError: None was.
    """
    return Client(**_arguments(where))


def _arguments(where: Where) -> dict[str, Any]:
    return {item.name: getattr(where, item.name) for item in fields(where)}


@contextlib.contextmanager
def connect(
    where: Where, *, local: bool, roots: Callable[[], Iterable[Path]], say: Callable[[str], None]
) -> Iterator[Connection]:
    """A client of the named server; of the embedded set if it is asked for, or if there is no other.

    Args:
        where: The options.
        local: `--local`.
        roots: Folders that the embedded worker may read.
        say: Is told what is going on while the set starts.

    Raises:
        NoServerError: No server is named, and the embedded set is not installed.
        LocalError: The embedded set does not start.
    """
    if local and where.server is not None:
        raise SettingsError("give either --local or --server, not both")
    settings = None if local else config.resolve(**_arguments(where))
    if settings is not None and settings.server is not None:
        with client_of(where) as client:
            yield Connection(client=client)
        return
    from hotfire.local import LocalStack, require_installed

    require_installed("" if local else NO_SERVER)
    with (
        LocalStack(roots=roots(), say=say) as stack,
        Client(stack.address, token=stack.token, tls=False) as client,
    ):
        yield Connection(client=client, ephemeral=True, patience_s=_LOCAL_PATIENCE_S)

"""From the options to a client: a server that was named, or the embedded set."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hotfire import config
from hotfire._calls import NO_SERVER
from hotfire._watch import PATIENCE_S
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

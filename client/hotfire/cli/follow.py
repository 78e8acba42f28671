"""Following one preflight to its end: progress, Ctrl-C, the report, the exit code."""

from __future__ import annotations

from hotfire.cli import exits
from hotfire.cli.connection import Connection
from hotfire.cli.output import Output, print_error
from hotfire.client import PreflightHandle
from hotfire.errors import HotfireError
from hotfire.render.progress import Progress


def follow(
    connection: Connection,
    handle: PreflightHandle,
    output: Output,
    display: Progress,
    *,
    fail_on: str,
    cancel_on_interrupt: bool,
) -> int:
    """Watches to the end and writes the report.

    Returns:
        The exit code.
    """
    client = connection.client
    try:
        # Of an ended preflight too: who was away sees what happened, every event once.
        for event in handle.watch(patience_s=connection.patience_s):
            display.event(event)
        last = handle.preflight
        if not (last.HasField("report") or last.HasField("error")):
            handle.refresh()
    except KeyboardInterrupt:
        display.stop()
        _interrupted(connection, handle, output, cancel=cancel_on_interrupt)
        return exits.INTERRUPTED
    except HotfireError as error:
        display.stop()
        print_error(error, as_json=False)
        if not connection.ephemeral:
            output.hint(f"it may go on without us: hotfire watch {handle.id}{_server(client.server)}")
        output.preflight(handle.preflight)
        return exits.NO_VERDICT
    display.stop()
    output.preflight(handle.preflight, ephemeral=connection.ephemeral)
    return exits.of_preflight(handle.preflight, fail_on)


def _interrupted(connection: Connection, handle: PreflightHandle, output: Output, *, cancel: bool) -> None:
    if connection.ephemeral:
        output.hint("interrupted: the embedded service and worker are stopped")
        return
    if not cancel:
        output.hint(
            f"detached; it goes on. Come back: hotfire watch {handle.id}"
            f"{_server(connection.client.server)}   stop it: hotfire cancel {handle.id}"
        )
        return
    try:
        handle.cancel()
        output.hint(f"cancelled {handle.name}")
    except HotfireError as error:
        print_error(error, as_json=False)


def _server(address: str) -> str:
    """The option that a later command needs, unless the settings say the same."""
    from hotfire import config

    try:
        known = config.resolve().server
    except HotfireError:
        known = None
    return "" if known == address else f" --server {address}"

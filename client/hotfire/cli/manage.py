"""`hotfire watch`, `get`, `list`, `cancel`, `delete`, `pools`: what there is on a server."""

from __future__ import annotations

import itertools
import time
from typing import Annotated

import typer

from hotfire.cli import exits, options
from hotfire.cli.check import parse_labels
from hotfire.cli.connection import Connection, Where, client_of, reaches_server
from hotfire.cli.follow import follow
from hotfire.cli.output import Output, console
from hotfire.errors import SettingsError
from hotfire.render import progress
from hotfire.v1 import preflight_service_pb2 as service_pb2


@reaches_server
def watch(
    id_: options.Id,
    fail_on: options.FailOnOption = options.FailOn.ERROR,
    format_: options.FormatOption = options.Format.PRETTY,
    output: options.Output = None,
    cancel_on_interrupt: options.CancelOnInterrupt = False,
    verbose: options.Verbose = False,
    quiet: options.Quiet = False,
    *,
    where: Where,
) -> int:
    """Follow a preflight to its end and show its report."""
    out = Output(format_, output, verbose=verbose)
    with client_of(where) as client:
        handle = client.preflight(id_)
        handle.refresh()
        display = progress.make(out.errors, quiet=quiet)
        display.start()
        try:
            return follow(
                Connection(client=client),
                handle,
                out,
                display,
                fail_on=fail_on,
                cancel_on_interrupt=cancel_on_interrupt,
            )
        finally:
            display.stop()


@reaches_server
def get(
    id_: options.Id,
    row: Annotated[int | None, typer.Option("--row", min=1, help="Show one row as tokens.")] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit as check would.")] = False,
    fail_on: options.FailOnOption = options.FailOn.ERROR,
    format_: options.FormatOption = options.Format.PRETTY,
    output: options.Output = None,
    verbose: options.Verbose = False,
    *,
    where: Where,
) -> int:
    """Show a preflight as it stands."""
    out = Output(format_, output, verbose=verbose)
    with client_of(where) as client:
        if row is not None:
            from hotfire.render import evidence
            from hotfire.render.frame import Look

            sample = client.get_row(id_, row)
            out.message(sample, evidence.sample(sample, Look.of(console())))
            return exits.OK
        preflight = client.get_preflight(id_)
    out.preflight(preflight)
    return exits.of_preflight(preflight, fail_on) if exit_code else exits.OK


@reaches_server
def list_(
    state: Annotated[str | None, typer.Option("--state", help="queued, running, succeeded, ...")] = None,
    verdict: Annotated[str | None, typer.Option("--verdict", help="pass, warn, fail, inconclusive")] = None,
    label: options.Label = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 20,
    format_: options.PlainFormatOption = options.PlainFormat.PRETTY,
    output: options.Output = None,
    *,
    where: Where,
) -> int:
    """List preflights, newest first."""
    out = Output(format_, output)
    with client_of(where) as client:
        found = client.list_preflights(
            state=state, verdict=verdict, labels=parse_labels(label), page_size=min(limit, 500)
        )
        try:
            preflights = list(itertools.islice(found, limit))
        except ValueError as error:
            raise SettingsError(str(error)) from None
    from hotfire.render import lists

    out.message(
        service_pb2.ListPreflightsResponse(preflights=preflights),
        lists.preflights(preflights, now_s=time.time()),
    )
    return exits.OK


@reaches_server
def cancel(
    id_: options.Id,
    format_: options.PlainFormatOption = options.PlainFormat.PRETTY,
    *,
    where: Where,
) -> int:
    """Cancel a preflight."""
    out = Output(format_)
    with client_of(where) as client:
        handle = client.preflight(id_)
        handle.cancel()
    if out.format == "json":
        out.message(handle.preflight)
    else:
        words = {"RUNNING": "is being cancelled", "CANCELLED": "is cancelled"}
        out.text(f"{handle.name} {words.get(handle.state, f'had ended before: {handle.state}')}\n")
    return exits.OK


@reaches_server
def delete(
    id_: options.Id,
    format_: options.PlainFormatOption = options.PlainFormat.PRETTY,
    *,
    where: Where,
) -> int:
    """Delete a preflight's record."""
    out = Output(format_)
    with client_of(where) as client:
        handle = client.preflight(id_)
        handle.delete()
    if out.format == "json":
        out.message(service_pb2.DeletePreflightResponse())
    else:
        out.text(f"{handle.name} is deleted\n")
    return exits.OK


@reaches_server
def pools(
    format_: options.PlainFormatOption = options.PlainFormat.PRETTY,
    output: options.Output = None,
    *,
    where: Where,
) -> int:
    """List the worker pools."""
    out = Output(format_, output)
    with client_of(where) as client:
        found = client.list_pools()
    from hotfire.render import lists

    out.message(service_pb2.ListPoolsResponse(pools=found), lists.pools(found))
    return exits.OK

"""`hotfire up`, `serve`, `worker`: the other houses, started as programs of their own."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from hotfire.cli import exits
from hotfire.cli.output import Output
from hotfire.config import DEFAULT_PORT

_POLL_S = 0.2


def up(
    spec: Annotated[
        str | None,
        typer.Argument(
            metavar="[SPEC]", help="Also allow the folders that this spec names.", show_default=False
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="On 127.0.0.1; 0: any free one.")
    ] = DEFAULT_PORT,
    root: Annotated[
        list[Path] | None,
        typer.Option(
            "--root", metavar="DIR", help="A folder that specs may name; can be repeated.", show_default=False
        ),
    ] = None,
) -> int:
    """Run Valkey, the service and one worker on this machine, until Ctrl-C."""
    from hotfire import spec as specs
    from hotfire.local import LocalStack, require_installed

    require_installed()
    roots = [Path.cwd(), *(path.expanduser().absolute() for path in root or ())]
    if spec is not None:
        roots += specs.load(spec).roots()
    out = Output()
    with LocalStack(roots=dict.fromkeys(roots), port=port, shared=True, say=out.hint) as stack:
        out.text(f"hotfire is up on {stack.address}\n")
        out.hint(f"allowed folders: {', '.join(map(str, dict.fromkeys(roots)))}")
        out.hint(f"logs: {stack.run_dir}")
        out.hint(
            f"elsewhere: export HOTFIRE_SERVER={stack.address}; hotfire check SPEC   Ctrl-C stops everything"
        )
        try:
            while (failure := stack.failure) is None:
                time.sleep(_POLL_S)
        except KeyboardInterrupt:
            out.hint("stopping")
            return exits.OK
        raise failure


def serve(context: typer.Context) -> int:
    """Run the service (its own options: hotfire serve --help)."""
    from hotfire.local.install import require_service

    require_service()
    return _become("hotfire_service", context.args)


def worker(context: typer.Context) -> int:
    """Run a worker (its own options: hotfire worker --help)."""
    from hotfire.local.install import require_worker

    require_worker()
    return _become("hotfire_workers", context.args)


def _become(module: str, arguments: list[str]) -> int:
    """Replaces this process, so that signals and exit code are the program's own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - no shell is wanted

"""The `hotfire` command. Needs the extra `cli`."""

from __future__ import annotations

import importlib.util
import io
import os
import sys


def main() -> int:
    """Runs the command line; returns the exit code."""
    missing = [name for name in ("rich", "typer") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"the hotfire command needs {missing[0]}: pip install 'hotfire[cli]'", file=sys.stderr)
        return 2
    # grpc tells every failed handshake on standard error, in words of its own; the error that we print has it.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character must not take the report down.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:]
    from hotfire.cli import plain

    if (lint := plain.read(arguments)) is not None:
        return plain.run(*lint)
    from hotfire.cli.app import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())

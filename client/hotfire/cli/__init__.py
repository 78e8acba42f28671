"""The `hotfire` command. Needs the extra `cli`."""

from __future__ import annotations

import io
import os
import sys


def main() -> int:
    """Runs the command line; returns the exit code."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        print(f"the hotfire command needs {error.name}: pip install 'hotfire[cli]'", file=sys.stderr)
        return 2
    # grpc tells every failed handshake on standard error, in words of its own; the error that we print has it.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from hotfire.cli.app import run

    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character must not take the report down.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

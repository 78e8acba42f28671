"""`python -m hotfire_workers.probe`: does a worker on this machine live? For container health checks.

A worker's main process touches a file at every heartbeat, whether Redis answers or not: a Redis that is away must not
restart every worker. Exit code 0: a heartbeat within the last two minutes; 1: none.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from pydantic import ValidationError

from hotfire_workers.settings import WorkerSettings

ALIVE = "alive"
"""Name of the file, in `run/worker-{pid}/` of the cache folder."""
_MAX_AGE_S = 120.0


def age_s(cache_dir: Path) -> float | None:
    """Seconds since the last heartbeat of any worker with this cache folder; None: there was none."""
    beats = [file.stat().st_mtime for file in cache_dir.glob(f"run/worker-*/{ALIVE}")]
    return time.time() - max(beats) if beats else None


def main(argv: list[str] | None = None) -> int:
    """The command line.

    Args:
        argv: Flags; default: the command line.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m hotfire_workers.probe", description=__doc__)
    parser.add_argument("--max-age", type=float, default=_MAX_AGE_S, metavar="SECONDS")
    arguments = parser.parse_args(argv)
    try:
        folder = WorkerSettings().cache_dir
    except ValidationError as error:
        print(error, file=sys.stderr)
        return 2
    age = age_s(folder)
    if age is None:
        print(f"no worker has run with the cache folder {folder}")
        return 1
    print(f"last heartbeat {age:.0f} s ago")
    return 0 if age <= arguments.max_age else 1


if __name__ == "__main__":
    sys.exit(main())

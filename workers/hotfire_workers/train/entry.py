"""What a rank does: read the request, run the loop, leave evidence.

The order is fixed. The process group exists before the arguments, the model and the engine: built earlier,
ZeRO's `zero.Init` and the batch arithmetic would see a world of one rank.

`python -m hotfire_workers.train.entry REQUEST.json` runs one rank under torchrun (RANK, WORLD_SIZE,
LOCAL_RANK in the environment).
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from hotfire.rules.evidence.request import TrialRequest
from hotfire_workers.train import rankguard
from hotfire_workers.train.writer import EventWriter


def read_request(path: str) -> TrialRequest:
    """Reads a trial request; unknown fields are an error that names them."""
    values = json.loads(Path(path).read_text(encoding="utf-8"))
    known = {f.name for f in dataclasses.fields(TrialRequest)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{path}: unknown fields {', '.join(unknown)}")
    return TrialRequest(**values)


def run_rank(request_path: str) -> dict[str, Any]:
    """Runs this process's rank of a trial.

    Whatever goes wrong is written to the rank's file as an `error` line first and raised again then, so that
    the agent sees it too.

    Args:
        request_path: The `TrialRequest` as JSON.

    Returns:
        {"rank", "attempts", "applied"}: small, it travels through a pipe. The evidence is in the files.
    """
    request = read_request(request_path)
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    writer = EventWriter(request.run_dir, rank)
    writer.line("start", rank=rank, pid=os.getpid(), world_size=world_size)
    try:
        with writer.during("import"):
            # Most of the seconds of a cold start; nothing in a rank forked from the warm process.
            from hotfire_workers.train.loops.run import run_loop
        result = run_loop(request, rank, world_size, writer)
    except BaseException as error:
        writer.line(
            "error",
            type=type(error).__name__,
            text=str(error),
            traceback=traceback.format_exc(),
            phase=writer.phase,
        )
        raise
    finally:
        writer.close()
    return result


def main() -> None:
    """The command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m hotfire_workers.train.entry REQUEST.json")
    rankguard.guard_rank(Path(sys.argv[1]).parent)
    run_rank(sys.argv[1])


if __name__ == "__main__":
    main()

"""What ranks run in the tests of library sets: they say which version of a library they see."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from pathlib import Path

from stand_in_ranks import Lines

from hotfire_workers.train import imports


def run_rank(request_path: str) -> dict:
    """One step; the facts tell what `numbered` is here, and where extensions would be built."""
    request = json.loads(Path(request_path).read_text())
    rank = int(os.environ["RANK"])
    lines = Lines(request, rank)
    lines("start", rank=rank, pid=os.getpid(), world_size=int(os.environ["WORLD_SIZE"]))
    import numbered

    versions = imports.versions() | {"numbered": importlib.metadata.version("numbered")}
    lines("facts", versions=versions, facts={
        "imported": numbered.NUMBER,
        "warm_pid": os.getppid(),
        "extensions": os.environ.get("TORCH_EXTENSIONS_DIR"),
        "front": sys.path[0],
    })  # fmt: skip
    lines("step", step=1, phase="SCHEDULED", applied=True, loss=1.0, num_supervised_tokens=1)
    lines("end", peak_memory_bytes=1)
    return {"rank": rank}

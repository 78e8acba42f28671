"""One `prepare` request in a process of its own: what it raises is kept as `error.json`."""

from __future__ import annotations

import json
import os
import time
import traceback
from pathlib import Path

from hotfire.rules.evidence import PrepareRequest
from hotfire_workers.train import launch, rankguard


def run(request_path: str, prepare: str = launch.PREPARE) -> int:
    """Run the preparation named in the request file.

    Args:
        request_path: The PrepareRequest as JSON.
        prepare: `module:function`, called with the PrepareRequest.

    Returns:
        0, or 1 with the error in `error.json` of the request's `out_dir`.
    """
    rankguard.volunteer_for_oom()
    fields = json.loads(Path(request_path).read_text())
    try:
        request = PrepareRequest(**fields)
        launch.run_reporting_imports("prepare", lambda: launch.load(prepare)(request))
    except Exception as error:  # noqa: BLE001  whatever it was, it is the answer
        report = {
            "ev": "error",
            "t_ns": time.monotonic_ns(),
            "type": type(error).__name__,
            "text": str(error),
            "traceback": traceback.format_exc(),
            "pid": os.getpid(),
        }
        Path(fields["out_dir"], "error.json").write_text(json.dumps(report))
        traceback.print_exc()
        return 1
    return 0

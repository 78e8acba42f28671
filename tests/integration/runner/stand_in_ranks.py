"""What ranks run in the tests of the launcher: the evidence lines of a trial, without a model.

What a rank does stands in the request's `faults`: {"rank1": "raise"} and the like.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path


class Lines:
    """Writes the lines of one rank."""

    def __init__(self, request: dict, rank: int) -> None:
        path = Path(request["run_dir"], "events", f"rank{rank}.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a")

    def __call__(self, ev: str, **fields: object) -> None:
        self._file.write(json.dumps({"ev": ev, "t_ns": time.monotonic_ns(), **fields}) + "\n")
        self._file.flush()


def run_rank(request_path: str) -> dict:
    """A trial of `num_steps` fake steps, or what `faults` says."""
    request = json.loads(Path(request_path).read_text())
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    fault = request["faults"].get(f"rank{rank}", request["faults"].get("all", ""))
    if fault == "no-line":
        time.sleep(600)
    lines = Lines(request, rank)
    lines("start", rank=rank, pid=os.getpid(), world_size=world_size)
    try:
        if "grandchild" in fault:
            ignore_and_leave_a_grandchild()
        if request["faults"].get("group"):
            import torch.distributed

            torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=30))
        lines("enter", name="steps")
        for step in range(1, request["num_steps"] + 1):
            act(fault, step, lines)
            if request["faults"].get("group"):
                import torch.distributed

                torch.distributed.all_reduce(torch.ones(4))
            lines(
                "step", step=step, phase="SCHEDULED", applied=True, loss=2.0 + rank, num_supervised_tokens=10
            )
        lines("end", peak_memory_bytes=1000 + rank)
    except BaseException as error:
        lines("error", type=type(error).__name__, text=str(error), traceback=None, phase="steps")
        raise
    return {"rank": rank}


def act(fault: str, step: int, lines: Lines) -> None:
    """Commit the fault, if it is due."""
    if "ignore-term" in fault:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if step == 1 and "sleep" in fault:
        time.sleep(600)
    if step != 2:
        return
    match fault:
        case "raise":
            raise ValueError("the fault of this rank")
        case "oom":
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 TB"
            )
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit0":
            os._exit(0)
        case "exit3":
            os._exit(3)
        case "hang":
            hang_here()


def hang_here() -> None:
    """Never return; the name is what the stack shows."""
    while True:
        time.sleep(0.05)


def ignore_and_leave_a_grandchild() -> None:
    """The worst rank: hears no SIGTERM, leads a session, has an executed child in a session of its own."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)
    with contextlib.suppress(PermissionError):  # torchrun made it a leader already
        os.setsid()
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)


def prepare(request: object) -> None:
    """A preparation that finds nothing, or what its model says."""
    out_dir, model = Path(request.out_dir), request.model
    if model.get("fault") == "raise":
        raise ValueError("no such model")
    if model.get("fault") == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if model.get("fault") == "sleep":
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        time.sleep(600)
    (out_dir / "model.json").write_text(json.dumps({"model_type": "glm", "vocab_size": 64}))
    row = {"row": 1, "num_tokens": 3, "num_tokens_untruncated": 3, "num_supervised": 1}
    (out_dir / "data.json").write_text(json.dumps({"num_rows_read": 1, "rows": [row]}))

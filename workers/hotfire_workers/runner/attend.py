"""What the warm and the cold runner do alike: lay out the folder, follow the lines, name what went wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hotfire.rules.evidence import (
    DataEvidence,
    ModelFacts,
    Step,
    Trial,
    TrialError,
    TrialOutcome,
    TrialRequest,
)
from hotfire_workers.runner import records, tree
from hotfire_workers.runner.base import PrepareResult, RunnerError
from hotfire_workers.runner.causes import is_out_of_memory
from hotfire_workers.runner.collect import Collector
from hotfire_workers.runner.watch import Limits, Stop, Watchdog

POLL_S = 0.05
_LOOK_S = 0.5
_HANG_SHARE = 0.8
"""Of the collective time-out: the watchdog must strike first, or the waiting rank gets the blame."""


def lay_out(request: TrialRequest) -> Path:
    """Make the run directory and write the request into it. Returns the request's path."""
    run_dir = Path(request.run_dir)
    if not run_dir.is_absolute():
        raise RunnerError(f"run_dir {request.run_dir!r}: expected an absolute path")
    if any(run_dir.glob("events/*")):
        set_aside(run_dir)
    for name in ("events", "logs", "tmp"):
        (run_dir / name).mkdir(parents=True, exist_ok=True)
    path = run_dir / "request.json"
    path.write_text(json.dumps(dataclasses.asdict(request)))
    return path


def set_aside(run_dir: Path) -> None:
    """Move what an earlier attempt wrote into `attempt-{n}`: no line of it may count for the next one."""
    number = 1 + sum(1 for _ in run_dir.glob("attempt-*"))
    aside = run_dir / f"attempt-{number}"
    aside.mkdir()
    for entry in ("events", "logs", "stacks", "tmp", "agent.json", "exits.jsonl", "agent.log"):
        with contextlib.suppress(FileNotFoundError):
            (run_dir / entry).rename(aside / entry)


def limits_of(request: TrialRequest, *, first_line_s: float, hang_s: float | None) -> Limits:
    """The watchdog's limits for a request."""
    return Limits(
        timeout_s=request.timeout_s,
        hang_s=hang_s if hang_s is not None else _HANG_SHARE * request.collective_timeout_s,
        first_line_s=first_line_s,
    )


def follow(
    collector: Collector,
    watchdog: Watchdog,
    wait: Callable[[float], bool],
    on_step: Callable[[Step], None] | None,
) -> Stop | None:
    """Follow a running trial until it ends or has to be ended.

    Args:
        collector: Reads the ranks' files.
        watchdog: Decides.
        wait: Waits up to so many seconds; True: the trial's processes have ended by themselves.
        on_step: Told of every step that all ranks have finished.

    Returns:
        None when it ended by itself.
    """
    last_look = time.monotonic()
    while True:
        over = wait(POLL_S)
        num_lines, finished = collector.read()
        if not over and time.monotonic() - last_look > _LOOK_S:
            collector.look_for_lost_ranks()
            last_look = time.monotonic()
        watchdog.saw(num_lines, failed=collector.failed)
        if on_step is not None:
            for step in finished:
                on_step(step)
        if over:
            return None
        if stop := watchdog.decide():
            return stop


class OomWatch:
    """Did the kernel's out-of-memory killer strike since this was made?"""

    def __init__(self) -> None:
        self._before = tree.num_oom_kills()

    @property
    def struck(self) -> bool | None:
        """None: this machine does not say."""
        now = tree.num_oom_kills()
        return None if now is None or self._before is None else now > self._before


def not_started(request: TrialRequest, reason: str, launcher: str) -> Trial:
    """The trial that was stopped before it began."""
    trial = Collector(request).trial(launcher=launcher)
    trial.outcome, trial.reason, trial.error = TrialOutcome.NOT_EXERCISED, reason, None
    return trial


def prepared(
    out_dir: Path, *, status: int | None, stop: Stop | None, started: float, launcher: str, oom: OomWatch
) -> PrepareResult:
    """Read what a preparation left behind.

    Args:
        out_dir: Its folder.
        status: Exit status, negative for a signal; None when it was ended by us.
        stop: Why it was ended by us.
        started: Monotonic time of the request.
        launcher: "warm" or "cold".
        oom: Made before it began.
    """
    result = PrepareResult(seconds=time.monotonic() - started, launcher=launcher)
    if stop is not None:
        result.error = TrialError(type=stop.kind.name.title(), message=stop.text, phase="prepare")
        return result
    if status == 0:
        try:
            result.model = records.read(out_dir / "model.json", ModelFacts)
            result.data = records.read(out_dir / "data.json", DataEvidence)
        except (OSError, ValueError, TypeError) as error:
            result.model = result.data = None
            result.error = TrialError(
                type=type(error).__name__, message=f"preparation: {error}", phase="prepare"
            )
        return result
    result.error = _error_of(out_dir, status, oom)
    return result


def _error_of(out_dir: Path, status: int | None, oom: OomWatch) -> TrialError:
    with contextlib.suppress(OSError, ValueError, KeyError):
        line: dict[str, Any] = json.loads((out_dir / "error.json").read_text())
        return TrialError(
            type="OutOfMemoryError" if is_out_of_memory(line["type"], line["text"]) else line["type"],
            message=line["text"],
            exit_code=status,
            phase="prepare",
            traceback=line.get("traceback"),
        )
    name = tree.signal_name(status)
    if name == "SIGKILL" and oom.struck is not False:
        return TrialError(
            type="OutOfMemoryError",
            message="the preparation was killed for lack of memory",
            exit_code=status,
            signal=name,
            phase="prepare",
        )
    return TrialError(
        type="Killed" if name else "SilentExit",
        message=f"the preparation ended by {name}"
        if name
        else f"the preparation ended with exit code {status}",
        exit_code=status,
        signal=name,
        phase="prepare",
    )

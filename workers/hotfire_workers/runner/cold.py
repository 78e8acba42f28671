"""Runs requests in fresh interpreters: another environment, debugging, or when the warm way failed.

A trial is torchrun (`torch.distributed.run`), under a guardian of its own, which is what makes its whole tree
go.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hotfire.rules.evidence import PrepareRequest, Step, Trial, TrialRequest
from hotfire_workers.runner import attend, stacks, tree
from hotfire_workers.runner.base import PrepareResult
from hotfire_workers.runner.collect import Collector
from hotfire_workers.runner.environment import rank_environment
from hotfire_workers.runner.watch import Limits, Stop, StopKind, Watchdog

_END_S = 5.0


class ColdRunner:
    """Same requests, same evidence, 6 to 8 s more a trial.

    Args:
        environment: The whole environment of user code; None: `rank_environment()`.
        python: The interpreter of the training environment; None: this one.
        cache_dir: Root of the cache; None: the default.
        marker: Marks the processes; what an earlier run with the same marker left behind is killed first.
            None:
            one of its own.
        first_line_s: The imports of every rank are in it.
        hang_s: As in WarmRunner.
        entry: Test hook: what the ranks run instead, `module:function`.
        prepare: Test hook: what the preparation runs instead.
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str] | None = None,
        python: str | None = None,
        cache_dir: str | Path | None = None,
        marker: str | None = None,
        first_line_s: float = 120.0,
        hang_s: float | None = None,
        entry: str | None = None,
        prepare: str | None = None,
    ) -> None:
        self._environment = dict(environment or rank_environment(cache_dir=cache_dir))
        self._python = python or sys.executable
        self._cache_dir = cache_dir
        self._marker = marker or f"cold-{uuid.uuid4().hex[:12]}"
        self._first_line_s = first_line_s
        self._hang_s = hang_s
        self._hooks = [*(["--entry", entry] if entry else []), *(["--prepare", prepare] if prepare else [])]

    def run_trial(
        self,
        request: TrialRequest,
        *,
        on_step: Callable[[Step], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Trial:
        """Run one trial; arguments and result as `WarmRunner.run_trial`."""
        began = time.monotonic()
        path = attend.lay_out(request)
        run_dir = Path(request.run_dir)
        collector = Collector(request)
        limits = attend.limits_of(request, first_line_s=self._first_line_s, hang_s=self._hang_s)
        watchdog = Watchdog(limits, should_stop)
        oom = attend.OomWatch()
        with self._process("trial", path, run_dir, run_dir / "agent.log") as process:
            stop = attend.follow(collector, watchdog, lambda s: _wait(process, s), on_step)
            if stop is not None and stop.kind in {StopKind.HUNG, StopKind.NO_FIRST_LINE}:
                stop.kind = StopKind.HUNG  # there is no third way to try it
                stop = stacks.explain(stop, collector.ranks, run_dir, process.pid)
        return collector.trial(
            launcher="cold", seconds=time.monotonic() - began, stop=stop, oom_killed=oom.struck
        )  # fmt: skip

    def prepare(
        self, request: PrepareRequest, *, timeout_s: float, should_stop: Callable[[], bool] | None = None
    ) -> PrepareResult:
        """Read the model and tokenise the sample; as `WarmRunner.prepare`."""
        began = time.monotonic()
        out_dir = Path(request.out_dir)
        out_dir.mkdir(parents=True, exist_ok=True)
        (out_dir / "error.json").unlink(missing_ok=True)
        path = out_dir / "request.json"
        path.write_text(json.dumps(dataclasses.asdict(request)))
        watchdog = Watchdog(
            Limits(timeout_s=timeout_s, hang_s=timeout_s, first_line_s=timeout_s), should_stop
        )
        oom = attend.OomWatch()
        stop: Stop | None = None
        with self._process("prepare", path, out_dir, out_dir / "prepare.log") as process:
            while stop is None and not _wait(process, attend.POLL_S):
                stop = watchdog.overdue()
            status = process.returncode if stop is None else None
        if status is not None and status > 128:
            status = 128 - status  # the guardian says 128 + n for signal n
        return attend.prepared(out_dir, status=status, stop=stop, started=began, launcher="cold", oom=oom)

    @contextmanager
    def _process(
        self, kind: str, request: Path, folder: Path, log_path: Path
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A guardian with the command below it; when the block is left, nothing of it is."""
        temporary = folder / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        cache = ["--cache-dir", str(self._cache_dir)] if self._cache_dir else []
        command = [
            self._python,
            "-m",
            "hotfire_workers.train.cold",
            kind,
            str(request),
            "--parent",
            "{parent}",
        ]
        guardian = [sys.executable, "-m", "hotfire_workers.runner.guardian", "--marker", self._marker]
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                [*guardian, "--parent", str(os.getpid()), "--", *command, *cache, *self._hooks],
                env={**self._environment, tree.SLOT: self._marker, "TMPDIR": str(temporary)},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
            process.kill()
            process.wait()
            tree.sweep(self._marker)


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True

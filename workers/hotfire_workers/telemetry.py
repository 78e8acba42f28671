"""What a worker counts, from the processes where it happens to the one that shows it.

Tasks run in processes that Celery forks and replaces; Prometheus wants one place that remembers. So each process writes
short lines into one pipe, and a small process at its other end (`hotfire_workers.metrics`) adds them up and answers on
HTTP. Celery's main process, from which tasks are forked, gets no thread by this. Nothing waits for the
pipe: if the reader is gone or slow, counts are lost and no preflight is.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1 import report_pb2
from hotfire_service.store.endpoint import listen, name_of
from hotfire_workers.settings import WorkerSettings

_log = logging.getLogger("hotfire.worker")
#: POSIX: so many bytes are written in one piece (PIPE_BUF), however many processes write.
_MAX_LINE_BYTES = 4096
_RESTART_S = 5.0
_END_S = 3.0


class Telemetry:
    """The writing end; does nothing where no address is set.

    Args:
        settings: `metrics_address`, `pool`.

    Raises:
        AddressError: The address cannot be listened on.
    """

    def __init__(self, settings: WorkerSettings | None = None) -> None:
        self._pool = settings.pool if settings else ""
        self._process: subprocess.Popen[bytes] | None = None
        self._start_again_at = 0.0
        self._pipe: tuple[int, int] | None = None
        self._listening = None
        if settings is not None and settings.metrics_address is not None:
            self._listening = listen(settings.metrics_address, setting="HOTFIRE_WORKER_METRICS_ADDRESS")
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)

    @property
    def address(self) -> str | None:
        """host:port where it shows."""
        return name_of(self._listening) if self._listening else None

    def start(self) -> None:
        """Starts the reader, in the main process and from its main thread: it ends with it."""
        if self._pipe is None or self._listening is None:
            return
        number = self._listening.fileno()
        command = [sys.executable, "-m", "hotfire_workers.metrics", str(number), self._pool, str(os.getpid())]
        # Of its own session: a Ctrl-C on the terminal is for the worker, which ends it last.
        self._process = subprocess.Popen(
            command, stdin=self._pipe[0], pass_fds=[number], start_new_session=True
        )

    def check(self) -> None:
        """Starts the reader again if it died; its counts begin anew."""
        if self._process is None or self._process.poll() is None or time.monotonic() < self._start_again_at:
            return
        self._start_again_at = time.monotonic() + _RESTART_S
        _log.warning("the metrics' process ended with %s and is started again", self._process.returncode)
        self.start()

    def stop(self) -> None:
        """Ends the reader."""
        if self._pipe is not None:
            for end in self._pipe:
                os.close(end)
            self._pipe = None
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._listening is not None:
            self._listening.close()

    def in_task_process(self) -> None:
        """In a process forked from the main one: it only writes. The port is free as soon as the worker is gone."""
        if self._pipe is not None and self._listening is not None:
            self._listening.close()
            os.close(self._pipe[0])

    # --- What is told -------------------------------------------------------------------------------------

    def add(self, metric: str, value: float = 1.0, **labels: str) -> None:
        """Adds to a counter, or one observation to a histogram."""
        self._send([metric, value, labels])

    def beat(self, values: Mapping[str, Any]) -> None:
        """The main process lives.

        Args:
            values: {"ready", "slots", "busy", "warm", "warm_restarts"}.
        """
        self._send(["beat", 0, dict(values)])

    def event(self, event: service_pb2.WatchPreflightResponse) -> None:
        """Counts what an event of a preflight tells."""
        if self._pipe is None or event.WhichOneof("event") != "trial_finished":
            return
        trial = event.trial_finished.trial
        role = report_pb2.Role.Name(trial.role).removeprefix("ROLE_").lower()
        outcome = report_pb2.TrialOutcome.Name(trial.outcome).removeprefix("TRIAL_OUTCOME_").lower()
        self.add("trials", role=role, outcome=outcome)
        for phase, seconds in trial.phase_seconds.items():
            self.add("trial_phase_seconds", seconds, phase=phase)

    def ended(self, result: str, seconds: float, *, num_warm_fallbacks: int) -> None:
        """A task is over: "succeeded", "failed", "cancelled", "preempted", "lost"."""
        self.add("preflights", result=result)
        self.add("preflight_seconds", seconds)
        if num_warm_fallbacks:
            self.add("warm_fallbacks", num_warm_fallbacks)

    def report(self, report: report_pb2.Report) -> None:
        """The verdict, and the rules that fired."""
        self.add("verdicts", verdict=report_pb2.Verdict.Name(report.verdict).removeprefix("VERDICT_").lower())
        for rule in {(f.rule, f.severity): f for f in report.findings}.values():
            severity = report_pb2.Severity.Name(rule.severity).removeprefix("SEVERITY_").lower()
            self.add("rules_fired", rule=rule.rule, severity=severity)

    def _send(self, message: list[Any]) -> None:
        if self._pipe is None:
            return
        line = json.dumps(message).encode() + b"\n"
        if len(line) <= _MAX_LINE_BYTES:
            with contextlib.suppress(OSError):
                os.write(self._pipe[1], line)

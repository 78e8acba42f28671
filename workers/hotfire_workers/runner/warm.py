"""The client of a warm process."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hotfire.rules.evidence import PrepareRequest, Step, Trial, TrialRequest
from hotfire_workers.runner import attend, stacks
from hotfire_workers.runner.base import PrepareResult, Runner, RunnerError
from hotfire_workers.runner.channel import Channel
from hotfire_workers.runner.collect import Collector
from hotfire_workers.runner.watch import Limits, Stop, StopKind, Watchdog


class _NotWarmError(Exception):
    """The warm way failed for a reason that is not the user's training: repeat it cold."""


class _Conversation:
    """One request on one connection: its `started` and `done` messages."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.pid: int | None = None
        self.done: dict[str, Any] | None = None

    def wait(self, timeout_s: float) -> bool:
        """Take what arrives. True: it is over."""
        for message in self._channel.receive(timeout_s):
            match message.get("ev"):
                case "started":
                    self.pid = message["pid"]
                case "done":
                    self.done = message
                case _:
                    raise RunnerError(f"the warm process refused: {message.get('text', message)}")
        return self.done is not None or self._channel.closed_by_peer

    def wait_until_started(self, watchdog: Watchdog, timeout_s: float) -> Stop | None:
        """Wait in the queue. Raises _NotWarmError when the warm process does not answer."""
        deadline = time.monotonic() + timeout_s
        while self.pid is None:
            if self.wait(attend.POLL_S) and self.done is None:
                raise _NotWarmError("the warm process went away before the request began")
            if stop := watchdog.wants_stop():
                return stop
            if time.monotonic() > deadline:
                raise _NotWarmError(f"the warm process did not begin within {timeout_s:g} s")
        watchdog.start()
        return None


class WarmRunner:
    """Runs requests in a slot's warm process.

    What fails there for our own reasons is repeated cold and counted.

    Args:
        socket_path: The warm process's socket.
        cold: Repeats what failed; None: such a failure raises RunnerError.
        first_line_s: A trial whose ranks write nothing for so long is killed and repeated.
        hang_s: Without progress for so long a trial is HUNG; None: 0.8 of its collective time-out.
        start_timeout_s: Patience with a warm process that is still importing, or busy.
    """

    def __init__(
        self,
        socket_path: str | Path,
        *,
        cold: Runner | None = None,
        first_line_s: float = 10.0,
        hang_s: float | None = None,
        start_timeout_s: float = 120.0,
    ) -> None:
        self._socket_path = Path(socket_path)
        self._cold = cold
        self._first_line_s = first_line_s
        self._hang_s = hang_s
        self._start_timeout_s = start_timeout_s
        self.cold_repeats: list[str] = []
        """Why a request had to be repeated cold, one text each."""

    def run_trial(
        self,
        request: TrialRequest,
        *,
        on_step: Callable[[Step], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Trial:
        """Run one trial.

        Args:
            request: The trial; `run_dir` is made if need be.
            on_step: Called with every step that all ranks have finished.
            should_stop: Asked about twenty times a second; True ends the trial.

        Returns:
            The trial. `outcome` is set for HUNG, CRASHED, OUT_OF_MEMORY and NOT_EXERCISED only.

        Raises:
            RunnerError: The trial could not be run, warm or cold.
        """
        began = time.monotonic()
        try:
            return self._run_warm(request, began, on_step, should_stop)
        except _NotWarmError as why:
            if self._cold is None:
                raise RunnerError(str(why)) from None
            self.cold_repeats.append(str(why))
            attend.set_aside(Path(request.run_dir))
            trial = self._cold.run_trial(request, on_step=on_step, should_stop=should_stop)
            trial.facts["repeated_cold"] = str(why)
            trial.seconds = time.monotonic() - began
            return trial

    def _run_warm(
        self,
        request: TrialRequest,
        began: float,
        on_step: Callable[[Step], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> Trial:
        path = attend.lay_out(request)
        collector = Collector(request)
        limits = attend.limits_of(request, first_line_s=self._first_line_s, hang_s=self._hang_s)
        watchdog = Watchdog(limits, should_stop)
        oom = attend.OomWatch()
        with self._connect() as channel:
            conversation = _Conversation(channel)
            channel.send(kind="trial", request=str(path))
            stop = conversation.wait_until_started(watchdog, self._start_timeout_s)
            if stop is not None:
                return attend.not_started(request, stop.text, "warm")
            stop = attend.follow(collector, watchdog, conversation.wait, on_step)
            if stop is not None and stop.kind is StopKind.HUNG and conversation.pid is not None:
                stop = stacks.explain(stop, collector.ranks, Path(request.run_dir), conversation.pid)
        self._check_infrastructure(conversation, stop, collector)
        return collector.trial(
            launcher="warm", seconds=time.monotonic() - began, stop=stop, oom_killed=oom.struck
        )  # fmt: skip

    def _check_infrastructure(
        self, conversation: _Conversation, stop: Stop | None, collector: Collector
    ) -> None:
        if stop is not None:
            if stop.kind is StopKind.NO_FIRST_LINE:
                raise _NotWarmError(stop.text)
            return
        collector.read()
        if collector.failed or all(state.ended for state in collector.ranks):
            return
        if conversation.done is None:
            raise _NotWarmError("the warm process went away while the trial ran")
        if conversation.done["status"] < 0:
            raise _NotWarmError(f"the trial's agent was ended by signal {-conversation.done['status']}")
        if conversation.done["status"] != 0 and not any(state.started for state in collector.ranks):
            raise _NotWarmError("the trial's ranks did not start")

    def prepare(
        self, request: PrepareRequest, *, timeout_s: float, should_stop: Callable[[], bool] | None = None
    ) -> PrepareResult:
        """Read the model and tokenise the sample in a forked child.

        Raises:
            RunnerError: It could not be run, warm or cold. What is wrong with the model or the data is no
                such
                error: it stands in the result.
        """
        began = time.monotonic()
        try:
            return self._prepare_warm(request, timeout_s, should_stop, began)
        except _NotWarmError as why:
            if self._cold is None:
                raise RunnerError(str(why)) from None
            self.cold_repeats.append(str(why))
            return self._cold.prepare(request, timeout_s=timeout_s, should_stop=should_stop)

    def _prepare_warm(
        self, request: PrepareRequest, timeout_s: float, should_stop: Callable[[], bool] | None, began: float
    ) -> PrepareResult:
        out_dir = Path(request.out_dir)
        out_dir.mkdir(parents=True, exist_ok=True)
        (out_dir / "error.json").unlink(missing_ok=True)
        path = out_dir / "request.json"
        path.write_text(json.dumps(dataclasses.asdict(request)))
        watchdog = Watchdog(
            Limits(timeout_s=timeout_s, hang_s=timeout_s, first_line_s=timeout_s), should_stop
        )
        oom = attend.OomWatch()
        with self._connect() as channel:
            conversation = _Conversation(channel)
            channel.send(kind="prepare", request=str(path))
            stop = conversation.wait_until_started(watchdog, self._start_timeout_s)
            while stop is None and not conversation.wait(attend.POLL_S):
                stop = watchdog.overdue()
        if stop is None and conversation.done is None:
            raise _NotWarmError("the warm process went away during the preparation")
        status = conversation.done["status"] if conversation.done else None
        return attend.prepared(out_dir, status=status, stop=stop, started=began, launcher="warm", oom=oom)

    def _connect(self) -> Channel:
        """Connect, with some patience: the warm process may be about to listen."""
        deadline = time.monotonic() + min(5.0, self._start_timeout_s)
        while True:
            try:
                return Channel(self._socket_path)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise _NotWarmError(f"no warm process at {self._socket_path}: {error.strerror}") from None
                time.sleep(attend.POLL_S)

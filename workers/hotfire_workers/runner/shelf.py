"""The library sets of a slot: each with a warm process of its own, started when a trial first asks for it.

The warm processes are children of the process that made the shelf (the worker's main process, which outlives every
task). A task runs in a process forked from it and can start nothing that outlives the task: it leaves a file that
says "wanted", and the main process, which looks twice a second, starts what is wanted, and ends what nobody has
wanted for a while.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from hotfire.rules.evidence import PrepareRequest, Step, Trial, TrialRequest
from hotfire_workers.library_sets import LibrarySet
from hotfire_workers.runner import attend
from hotfire_workers.runner.base import PrepareResult, Runner
from hotfire_workers.runner.service import WarmService

FOLDER_VARIABLE = "HOTFIRE_LIBRARY_SET"
"""What `hotfire_workers.train.libraries` reads."""
_POLL_S = 0.1


class NotUsableError(Exception):
    """A library set cannot be used: no trial of it can run, and the text says why."""


class Shelf:
    """The library sets of one slot.

    Args:
        sets: What the worker offers.
        make: Makes a service that is not started yet, from a suffix for its slot name and more environment.
        max_warm: So many sets are warm at a time; the one that was wanted longest ago goes first.
        idle_s: A set that nobody has wanted for so long is ended.
        warm_up_s: Patience with a warm process that imports, and compiles its communication op if no set-up did.
        cold: Every trial is a cold launch; no warm process is started.
    """

    def __init__(
        self,
        sets: Sequence[LibrarySet],
        make: Callable[[str, Mapping[str, str]], WarmService],
        *,
        max_warm: int = 2,
        idle_s: float = 900.0,
        warm_up_s: float = 300.0,
        cold: bool = False,
    ) -> None:
        self._sets = {library_set.name: library_set for library_set in sets}
        self._services = {s.name: make(f".{s.name}", {FOLDER_VARIABLE: str(s.folder)}) for s in sets}
        self._max_warm = max_warm
        self._idle_s = idle_s
        self._warm_up_s = warm_up_s
        self._cold = cold
        self._owner_pid = os.getpid()
        self._started: set[str] = set()
        self._refusals: dict[str, str] = {}
        for name in self._sets:  # what an earlier worker of this name left
            self._wanted_file(name).unlink(missing_ok=True)
            self._services[name].log_path.unlink(missing_ok=True)

    # --- In the process that made it ----------------------------------------------------------------------

    def check(self) -> None:
        """Starts what is wanted, looks after what runs, ends what is not; call it about twice a second.

        Raises:
            RunnerError: Another process serves a slot of this name.
        """
        wanted = {
            name: at for name in self._sets if (at := self._wanted_at(name)) > time.time() - self._idle_s
        }
        keep = sorted(wanted, key=lambda name: wanted[name], reverse=True)[: self._max_warm]
        for name in list(self._started):
            if name in keep:
                self._services[name].check()
            elif not self._is_busy(name):
                self._services[name].stop()
                self._started.discard(name)
        for name in keep:
            if name not in self._started:
                self._services[name].start()
                self._started.add(name)

    def _is_busy(self, name: str) -> bool:
        return bool((self._services[name].health(0.2) or {}).get("busy"))

    def stop(self) -> None:
        """Ends them all. In a fork of the owner: nothing."""
        if os.getpid() != self._owner_pid:
            return
        for name, service in self._services.items():
            service.stop()
            self._wanted_file(name).unlink(missing_ok=True)
        self._started.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- Anywhere -----------------------------------------------------------------------------------------

    def want(self, name: str) -> None:
        """Have the warm process of a set started, or kept. Does not wait for its imports."""
        file = self._wanted_file(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        if os.getpid() == self._owner_pid:
            self.check()

    def runner(self, name: str, should_stop: Callable[[], bool] | None = None) -> Runner:
        """A runner of a set, once its warm process takes work.

        Args:
            name: The set.
            should_stop: Ends the waiting.

        Raises:
            NotUsableError: There is none; the text says why.
        """
        if name not in self._sets:
            raise NotUsableError(
                f"this worker has no library set {name!r}; it has: {', '.join(self._sets) or 'none'}"
            )
        service = self._services[name]
        if self._cold:
            return service.cold_runner()
        if name in self._refusals:
            raise NotUsableError(self._refusals[name])
        end = time.monotonic() + self._warm_up_s
        while time.monotonic() < end:
            self.want(name)
            if service.health() is not None:
                return service.runner()
            if (why := service.last_error()) is not None:
                self._wanted_file(name).unlink(missing_ok=True)
                self._refusals[name] = f"the library set {name} cannot be used here: {why}"
                raise NotUsableError(self._refusals[name])
            if should_stop is not None and should_stop():
                raise NotUsableError("stopped while its libraries were imported")
            time.sleep(_POLL_S)
        raise NotUsableError(
            f"the library set {name} was not ready within {self._warm_up_s:g} s; see {service.log_path}"
        )

    def _wanted_file(self, name: str) -> Path:
        return self._services[name].log_path.with_name("wanted")

    def _wanted_at(self, name: str) -> float:
        """Seconds since 1970; 0: never."""
        with contextlib.suppress(OSError):
            return self._wanted_file(name).stat().st_mtime
        return 0.0


class LibraryRunner:
    """Runs each trial with the libraries that its request names.

    Args:
        own: Runs with the worker's own libraries; preparations too, which look at model and rows and not at DeepSpeed.
        shelf: The library sets.
    """

    def __init__(self, own: Runner, shelf: Shelf) -> None:
        self._own = own
        self._shelf = shelf
        self._runners: dict[str, Runner] = {}

    @property
    def cold_repeats(self) -> list[str]:
        """Why requests had to be repeated cold, one text each."""
        return [
            why
            for runner in (self._own, *self._runners.values())
            for why in getattr(runner, "cold_repeats", [])
        ]

    def prepare(
        self, request: PrepareRequest, *, timeout_s: float, should_stop: Callable[[], bool] | None = None
    ) -> PrepareResult:
        """As `Runner.prepare`."""
        return self._own.prepare(request, timeout_s=timeout_s, should_stop=should_stop)

    def run_trial(
        self,
        request: TrialRequest,
        *,
        on_step: Callable[[Step], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Trial:
        """As `Runner.run_trial`. A set that cannot be used gives a trial that is NOT_EXERCISED, with the reason."""
        if request.library_set is None:
            return self._own.run_trial(request, on_step=on_step, should_stop=should_stop)
        try:
            runner = self._shelf.runner(request.library_set, should_stop)
        except NotUsableError as why:
            trial = attend.not_started(request, str(why), "warm")
        else:
            runner = self._runners.setdefault(request.library_set, runner)
            trial = runner.run_trial(request, on_step=on_step, should_stop=should_stop)
        trial.library_set = request.library_set
        return trial

"""A worker's main process: slots and their warm processes, heartbeats, and the word to stop for its tasks."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import mmap
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hotfire_service.store import ArtifactStore, Ledger, StoreError, StoreSettings
from hotfire_workers.environment import WorkerFacts
from hotfire_workers.library_sets import read_sets
from hotfire_workers.probe import ALIVE
from hotfire_workers.runner.base import Runner, RunnerError
from hotfire_workers.runner.service import WarmService
from hotfire_workers.runner.shelf import LibraryRunner, Shelf
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.slots import Slot, SlotLocks, find_slots
from hotfire_workers.task import Post
from hotfire_workers.telemetry import Telemetry

_log = logging.getLogger("hotfire.worker")
_LIBRARIES = ("torch", "deepspeed", "transformers", "accelerate", "peft")
_MAX_NAMES = 64
_WARM_PATIENCE_S = 60.0
_LOOK_S = 0.2


class SharedFlag:
    """One bit that a process and those forked from it share."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def set(self) -> None:
        """Raise it, for all of them."""
        self._memory[0] = 1

    def is_set(self) -> bool:
        """Somebody has raised it."""
        return bool(self._memory[0])


class Station:
    """Made in the main process, before tasks' processes are forked from it.

    Args:
        settings: What the worker serves and allows.
        store: Where the store is.
        telemetry: Counts; None: nothing does.
    """

    def __init__(
        self, settings: WorkerSettings, store: StoreSettings, telemetry: Telemetry | None = None
    ) -> None:
        self.settings = settings
        self.store = store
        self.telemetry = telemetry or Telemetry()
        self.host = socket.gethostname()
        self.name = f"{settings.pool}-{self.host}-{os.getpid()}"
        self.slots = find_slots(settings)
        self.services: list[WarmService] = []
        self.library_sets = read_sets(settings.library_sets)
        self.shelves: list[Shelf] = []
        """Of each slot: the library sets."""
        self.stopping = SharedFlag()
        self._locks = SlotLocks(settings.cache_dir / "run" / f"worker-{os.getpid()}", len(self.slots))
        self._ledger: tuple[int, Ledger] | None = None
        self._reported_versions: dict[str, str] = {}

    # --- In the main process ------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the warm processes. Does not wait for their imports: tasks queue at their sockets."""
        for slot in self.slots:
            service = self._service(slot)
            self.services.append(service)
            self.shelves.append(self._shelf(slot, service.slot))

    def _shelf(self, slot: Slot, name: str) -> Shelf:
        return Shelf(
            self.library_sets,
            lambda suffix, env: self._make(slot, name + suffix, env),
            max_warm=self.settings.warm_library_sets,
            idle_s=self.settings.library_set_idle_s,
            cold=self.settings.launcher == "cold",
        )

    def _service(self, slot: Slot) -> WarmService:
        if self.settings.launcher == "cold":
            return self._make(slot, f"cold-{os.getpid()}-{slot.index}")
        # A record lock does not keep its own process out: names of our other slots are left out here.
        ours = {service.slot for service in self.services}
        for number in range(_MAX_NAMES):
            name = f"{self.settings.pool}-{number}"
            if name in ours:
                continue
            service = self._make(slot, name)
            try:
                service.start()
            except RunnerError:
                continue  # another worker on this machine has this name
            return service
        raise RunnerError(
            f"{_MAX_NAMES} slots of pool {self.settings.pool!r} are served on this machine already"
        )

    def _make(self, slot: Slot, name: str, env: Mapping[str, str] | None = None) -> WarmService:
        return WarmService(
            name,
            self.settings.cache_dir,
            device=slot.device_type,
            env={**slot.env, **(env or {})},
            python=self.settings.python,
            allow_hub=self.settings.hub_access,
        )

    def check(self) -> None:
        """Looks after the warm processes; call it about twice a second."""
        self.telemetry.check()
        if self.settings.launcher == "warm" and not self.stopping.is_set():
            for service in self.services:
                if not service.check() and (why := service.last_error()):
                    _log.error("slot %s: %s", service.slot, why)
            for shelf in self.shelves:
                try:
                    shelf.check()
                except RunnerError as error:
                    _log.error("%s", error)

    def stop(self) -> None:
        """Ends the warm processes, and says good-bye to the ledger."""
        for shelf in self.shelves:
            shelf.stop()
        for service in self.services:
            service.stop()
        self._locks.remove()
        self.telemetry.stop()
        with contextlib.suppress(StoreError):
            self.ledger.worker_gone(self.name)

    def beat(self) -> int:
        """Tells the metrics how things are; returns the number of busy slots."""
        busy = self._locks.num_held()
        if self.telemetry.address is not None:
            is_warm = self.settings.launcher == "warm"
            self.telemetry.beat(
                {
                    "ready": not self.stopping.is_set(),
                    "slots": len(self.slots),
                    "busy": busy,
                    "warm": sum(s.health(_LOOK_S) is not None for s in self.services) if is_warm else 0,
                    "warm_restarts": sum(service.num_restarts for service in self.services),
                }
            )
        return busy

    def heartbeat(self) -> None:
        """Tells the ledger that this worker is alive. A Redis that is away is no reason to stop."""
        # First, and whatever becomes of the rest: `hotfire_workers.probe` looks at its age.
        self._locks.touch(ALIVE)
        busy = self.beat()
        record = {
            "worker": self.name,
            "pool": self.settings.pool,
            "device": self.slots[0].device,
            "num_devices_per_slot": max(1, len(self.slots[0].gpus)),
            "slots": len(self.slots),
            "busy": busy,
            "versions": {**self.versions, **self._training_versions(), **self._offered_versions},
            "pid": os.getpid(),
            "host": self.host,
        }
        try:
            self.ledger.worker_heartbeat(record)
        except StoreError as error:
            _log.warning("no heartbeat: %s", error)

    # --- In a task's process ------------------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        """This process's own connection: one from before a fork must not be used after it."""
        if self._ledger is None or self._ledger[0] != os.getpid():
            self._ledger = (os.getpid(), Ledger.connect(self.store))
        return self._ledger[1]

    @contextmanager
    def post(self) -> Iterator[Post]:
        """A free slot and all that a task needs, for as long as the block lasts."""
        with self._locks.hold() as index:
            service = self.services[index]
            yield Post(
                worker=self.name,
                ledger=self.ledger,
                artifacts=ArtifactStore(settings=self.store),
                settings=self.settings,
                slot=self.slots[index],
                runner=LibraryRunner(self._runner(service), self.shelves[index]),
                facts=self._facts(service),
                shutting_down=self.stopping.is_set,
                telemetry=self.telemetry,
            )

    def _runner(self, service: WarmService) -> Runner:
        return service.cold_runner() if self.settings.launcher == "cold" else service.runner()

    def _facts(self, service: WarmService) -> WorkerFacts:
        health = self._health(service)
        return WorkerFacts(
            versions={**self.versions, **(health.get("versions") or {})},
            extension_lock=health.get("extension_lock"),
            pool=self.settings.pool,
            library_sets=self.library_sets,
        )

    def _health(self, service: WarmService) -> dict[str, Any]:
        """Waits for the imports of a warm process that has just started: they are not the preflight's time."""
        if self.settings.launcher == "cold":
            return {}
        end = time.monotonic() + _WARM_PATIENCE_S
        while time.monotonic() < end and not self.stopping.is_set():
            if (health := service.health()) is not None:
                return health
            time.sleep(0.1)
        return {}

    def _training_versions(self) -> dict[str, str]:
        """What the warm process reports of a training environment of its own; nothing until it has imported."""
        if not self._reported_versions and self.settings.python and self.settings.launcher == "warm":
            health = self.services[0].health(_LOOK_S) if self.services else None
            self._reported_versions = dict((health or {}).get("versions") or {})
        return self._reported_versions

    @property
    def versions(self) -> dict[str, str]:
        """Of the libraries, as installed beside the worker; a training environment of its own reports its own."""
        found = {"python": ".".join(map(str, sys.version_info[:3]))}
        for name in _LIBRARIES:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[name] = importlib.metadata.version(name)
        return found

    @property
    def _offered_versions(self) -> dict[str, str]:
        """What the library sets hold, as the list of pools shows it: "library set NAME" -> "deepspeed 0.18.2"."""
        return {
            f"library set {s.name}": ", ".join(f"{name} {version}" for name, version in s.versions.items())
            for s in self.library_sets
        }

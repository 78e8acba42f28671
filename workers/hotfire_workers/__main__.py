"""`python -m hotfire_workers`: start a worker. Settings: `HOTFIRE_WORKER_*` and `HOTFIRE_STORE_*`."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from typing import Any

from pydantic import ValidationError

from hotfire_service.store import StoreSettings
from hotfire_workers.gpu_claims import GpuBusyError, GpuClaims
from hotfire_workers.library_sets import read_sets
from hotfire_workers.runner.environment import rank_environment
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.slots import find_slots
from hotfire_workers.telemetry import Telemetry

_USAGE_ERROR = 2
#: Not 2: a supervisor that does not start again after a wrong setting may do so here.
_BUSY = 1


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m hotfire_workers", description=__doc__)
    parser.add_argument("--pool", help="the pool to serve")
    parser.add_argument("--slots", type=int, help="preflights at a time")
    parser.add_argument(
        "--devices", metavar="cpu|cuda|0,1|GPU-...", help="the CPU, all GPUs, or these (index or UUID)"
    )
    parser.add_argument("--devices-per-slot", type=int, metavar="N", help="GPUs of a slot (1)")
    parser.add_argument("--launcher", choices=["warm", "cold"])
    parser.add_argument(
        "--metrics-address", metavar="HOST:PORT", help="plain HTTP for /metrics, /livez, /readyz (off)"
    )
    parser.add_argument(
        "--no-setup", action="store_true", help="do not set the training environment up first"
    )
    arguments = parser.parse_args(argv)
    given = {k: v for k, v in vars(arguments).items() if v is not None and k != "no_setup"}
    try:
        settings, store = WorkerSettings(**given), StoreSettings()
        slots = find_slots(settings)
        telemetry = Telemetry(settings)
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"{error.title}: {name}: {problem['msg']}", file=sys.stderr)
        return _USAGE_ERROR
    except ValueError as error:
        print(error, file=sys.stderr)
        return _USAGE_ERROR
    try:
        claims = GpuClaims(slots)
    except GpuBusyError as error:
        print(error, file=sys.stderr)
        return _BUSY
    # Before the set-up, which may take minutes: a probe must not take it for a dead worker.
    telemetry.start()
    if not arguments.no_setup:
        set_up(settings)
    try:
        return _serve(settings, store, telemetry)
    finally:
        claims.release()


def set_up(settings: WorkerSettings) -> None:
    """Builds DeepSpeed's ops and learns what ranks import, for the own libraries and for every library set.

    Quick where it was done before; the first time it takes a minute or two each. What fails here is told by the health
    of the warm process, and costs time, no more. Cold ranks build the op of the own libraries themselves; that of a
    set takes as long as a hang, so it is built here.
    """
    if settings.launcher == "warm":
        _set_up(settings, [])
    for library_set in read_sets(settings.library_sets):
        _set_up(settings, ["--library-set", str(library_set.folder)])


def _set_up(settings: WorkerSettings, arguments: list[str]) -> None:
    device = find_slots(settings)[0].device_type
    command = [settings.python or sys.executable, "-m", "hotfire_workers.train.setup"]
    process = subprocess.Popen(
        [*command, "--cache-dir", str(settings.cache_dir), *arguments],
        env=rank_environment(device=device, cache_dir=settings.cache_dir),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )

    def stop(number: int, _frame: Any) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        sys.exit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _serve(settings: WorkerSettings, store: StoreSettings, telemetry: Telemetry) -> int:
    # Celery's own modules read the environment when they are imported.
    from hotfire_workers.app import make_app
    from hotfire_workers.station import Station

    station = Station(settings, store, telemetry)
    app = make_app(station)
    app.worker_main(
        [
            "worker",
            "--pool=prefork",
            f"--concurrency={len(station.slots)}",
            f"--hostname={station.name}@%h",
            f"--loglevel={settings.log_level}",
            "--optimization=fair",
            "--without-gossip",
            "--without-mingle",
        ]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

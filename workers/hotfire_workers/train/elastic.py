"""The agent of a warm trial: torch's own elastic launcher, with ranks forked from this process.

`elastic_launch` is what torchrun itself calls. What differs here: the ranks are forked with every import in
memory, and the rendezvous is a store of our own, which saves the 0.2 s of the c10d one and its two threads.
"""

from __future__ import annotations

import json
import os
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from hotfire_workers.train import launch, rankguard
from hotfire_workers.train.exits import ExitWatch

_LOOPBACK = "127.0.0.1"
_STORE_TIMEOUT = timedelta(seconds=60)


class LoopbackRendezvous(RendezvousHandler):
    """One node, one round.

    The store's port is picked by the kernel while binding it, so no two trials can meet on one port. For
    several nodes use torch's c10d.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id

    def get_backend(self) -> str:
        """Name in the registry."""
        return "hotfire"

    @property
    def use_agent_store(self) -> bool:
        """The ranks' process group uses the agent's store."""
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        """Open the store and be rank 0 of 1 agents."""
        store = TCPStore(
            _LOOPBACK, 0, None, True, _STORE_TIMEOUT, wait_for_workers=False, multi_tenant=True
        )  # fmt: skip
        return RendezvousInfo(store, 0, 1, RendezvousStoreInfo(_LOOPBACK, store.port))

    def is_closed(self) -> bool:
        """Never: one round only."""
        return False

    def set_closed(self) -> None:
        """Nothing to close."""

    def num_nodes_waiting(self) -> int:
        """No other node exists."""
        return 0

    def get_run_id(self) -> str:
        """The trial."""
        return self._run_id

    def shutdown(self) -> bool:
        """The store ends with this process."""
        return True


def _create(parameters: RendezvousParameters) -> RendezvousHandler:
    return LoopbackRendezvous(parameters.run_id)


rendezvous_handler_registry.register("hotfire", _create)


def run_agent(request: dict[str, Any], request_path: str, entry: str = launch.ENTRY) -> int:
    """Run one trial's ranks and write the agent's account to `agent.json` and `exits.jsonl` in the run directory.

    Args:
        request: The TrialRequest as a dict.
        request_path: Where it lies; each rank reads it.
        entry: What the ranks run.

    Returns:
        0 when every rank returned, 1 when one failed.
    """
    run_dir = Path(request["run_dir"])
    os.environ[rankguard.AGENT_PID] = str(os.getpid())
    # Python 3.12+ warns of forking with threads. Here there is one, the store's: C++, holding no Python lock.
    warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork.*", category=DeprecationWarning)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=request["num_ranks"],
        run_id="trial",
        role="rank",
        rdzv_backend="hotfire",
        rdzv_endpoint=f"{_LOOPBACK}:0",
        local_addr=_LOOPBACK,
        max_restarts=0,
        # At 0.2 s and more the agent blames a victim nearly every time.
        monitor_interval=0.02,
        start_method="fork",
        logs_specs=DefaultLogsSpecs(log_dir=str(run_dir / "logs"), redirects=Std.ALL),
    )
    return account(run_dir, lambda: elastic_launch(config, launch.rank_main)(request_path, entry))


def account(run_dir: Path, run: Any) -> int:
    """Call `run` and write what became of the ranks to `agent.json` and `exits.jsonl`.

    Args:
        run_dir: Where to write.
        run: Starts the ranks and waits for them; raises ChildFailedError when one fails.

    Returns:
        0 or 1, as `run_agent`.
    """
    first_failure: dict[str, Any] | None = None
    error: str | None = None
    with ExitWatch(run_dir / "exits.jsonl"):
        try:
            run()
        except ChildFailedError as failed:
            rank, failure = failed.get_first_failure()
            first_failure = {
                "rank": rank,
                "pid": failure.pid,
                "exit_code": failure.exitcode,
                "signal": failure.signal_name() if failure.exitcode < 0 else None,
                "message": _text(failure.message),
            }
        except Exception as unexpected:  # noqa: BLE001  the agent's own failure is evidence too
            error = f"{type(unexpected).__name__}: {unexpected}"
    (run_dir / "agent.json").write_text(json.dumps({"first_failure": first_failure, "error": error}))
    return 0 if first_failure is None and error is None else 1


def _text(message: Any) -> str:
    """A ProcessFailure's message is a text, or a dict around one."""
    while isinstance(message, dict):
        message = message.get("message", "")
    return str(message)

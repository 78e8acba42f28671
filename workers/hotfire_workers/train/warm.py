"""The warm process of a worker slot: it has imported everything and forks one child per request.

It listens before it imports, so that clients queue during the 6 s; it holds no thread, no CUDA context and no
process group, so that forking is safe; and everything below it belongs to the request in hand, so that
killing a request's tree is killing everything below.

Started by `hotfire_workers.runner.guardian`:
`python -m hotfire_workers.train.warm --socket PATH --parent PID [--cache-dir DIR]`.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from hotfire_workers.train import extensions, imports, launch, libraries, processes, rehearsal


def listen(path: Path) -> socket.socket:
    """Bind the socket that trials come through. Only this user may connect."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(64)
    return listener


def warm_up(cache_dir: str | None, warmth: str) -> dict[str, Any]:
    """Import, preload, rehearse, freeze.

    Args:
        cache_dir: Root of the cache; None: the default.
        warmth: "all", or "torch" for the launcher alone (tests of the launcher, which need no model).

    Returns:
        What a health request answers: versions, seconds, modules, threads, notes.

    Raises:
        RuntimeError: Forking this process would not be safe.
    """
    started = time.monotonic()
    user_places = extensions.places_to_look()
    environment = imports.Environment.current(cache_dir)
    environment.apply()
    facts: dict[str, Any] = {
        "pid": os.getpid(),
        "versions": imports.versions(),
        "environment": environment.key,
        "library_set": libraries.current(),
    }
    if warmth == "all":
        facts |= imports.import_everything(environment)
        facts |= rehearsal.preload_ops(environment, user_places)
        rehearsal.take_one_step()
        rehearsal.build_conversion_mapping()
    else:
        # torch._guards: the agent's log formatter imports it (and sympy) when a rank fails.
        imports.import_all(["torch", "torch._guards", "hotfire_workers.train.elastic"], required=True)
    gc.collect()
    gc.freeze()
    if len(threads := rehearsal.threads()) != 1:
        raise RuntimeError(
            f"{len(threads)} threads ({', '.join(threads)}): a process with threads is not forked"
        )
    if rehearsal.holds_cuda():
        raise RuntimeError("an import initialised CUDA: a process with a CUDA context cannot be forked")
    return {**facts, "threads": threads, "warm_up_seconds": round(time.monotonic() - started, 3)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--parent", type=int, default=None, help="process id this one must not outlive")
    parser.add_argument("--cache-dir", default=None)
    parser.add_argument("--warmth", choices=["all", "torch"], default="all")
    parser.add_argument("--entry", default=launch.ENTRY)
    parser.add_argument("--prepare", default=launch.PREPARE)
    arguments = parser.parse_args()
    processes.die_with_parent(arguments.parent)
    processes.become_subreaper()
    listener = listen(arguments.socket)
    try:
        libraries.enter()
        facts = warm_up(arguments.cache_dir, arguments.warmth)
    except Exception as error:  # noqa: BLE001  the guardian's owner reads this line
        sys.exit(f"the warm process cannot serve: {type(error).__name__}: {error}")
    from hotfire_workers.train.serve import Server  # imports torch: not before the socket listens

    print(f"warm after {facts['warm_up_seconds']} s", flush=True)
    Server(listener, facts, entry=arguments.entry, prepare=arguments.prepare).run()


if __name__ == "__main__":
    main()

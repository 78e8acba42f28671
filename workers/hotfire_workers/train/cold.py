"""The cold twins of the warm process's two requests, each in a fresh interpreter.

`python -m hotfire_workers.train.cold trial REQUEST.json` is torchrun (`torch.distributed.run`) with the
agent's account written to `agent.json`, as a warm trial does; `... prepare REQUEST.json` runs the
preparation.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from hotfire_workers.train import imports, launch, libraries, preparation, processes, rankguard


def torchrun_arguments(request_path: str, num_ranks: int, run_dir: str, entry: str) -> list[str]:
    """The command line of torchrun for one trial.

    The port is the kernel's choice (`127.0.0.1:0`): with the default one, two trials on a machine would meet
    and become one job.
    """
    return [
        "--nnodes=1",
        f"--nproc-per-node={num_ranks}",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:0",
        "--rdzv-id=trial",
        "--local-addr=127.0.0.1",
        "--max-restarts=0",
        "--monitor-interval=0.02",
        f"--log-dir={run_dir}/logs",
        "--redirects=3",
        "--role=rank",
        "-m",
        "hotfire_workers.train.launch",
        request_path,
        "--entry",
        entry,
    ]


def run_trial(request_path: str, entry: str) -> int:
    """Run one trial under torchrun. Returns 0 when every rank returned, else 1."""
    request = json.loads(Path(request_path).read_text())
    os.environ.update(request.get("env") or {})
    os.environ[rankguard.AGENT_PID] = str(os.getpid())
    from torch.distributed.run import parse_args, run

    from hotfire_workers.train.elastic import account

    arguments = torchrun_arguments(request_path, request["num_ranks"], request["run_dir"], entry)
    return account(Path(request["run_dir"]), lambda: run(parse_args(arguments)))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["trial", "prepare"])
    parser.add_argument("request")
    parser.add_argument("--cache-dir", default=None)
    parser.add_argument("--parent", type=int, default=None, help="process id this one must not outlive")
    parser.add_argument("--entry", default=launch.ENTRY)
    parser.add_argument("--prepare", default=launch.PREPARE)
    arguments = parser.parse_args()
    processes.die_with_parent(arguments.parent)
    libraries.enter()
    imports.Environment.current(arguments.cache_dir).apply()
    if arguments.kind == "trial":
        sys.exit(run_trial(arguments.request, arguments.entry))
    sys.exit(preparation.run(arguments.request, arguments.prepare))


if __name__ == "__main__":
    main()

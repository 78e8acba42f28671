"""`python -m benchmarks [--only PART,...] [--quick]`: prints; never judges a time."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys

# Before anything imports DeepSpeed or tokenizers.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from benchmarks import lint, probes, rows, submit, verdict, warm
from benchmarks.bed import BenchError
from hotfire.errors import HotfireError
from hotfire_workers.runner.base import RunnerError

PARTS = {
    "warm": warm.main,
    "probes": probes.main,
    "submit": submit.main,
    "verdict": verdict.main,
    "lint": lint.main,
    "rows": rows.main,
}
_LIBRARIES = ("torch", "deepspeed", "transformers", "accelerate")


def main(argv: list[str] | None = None) -> int:
    """Runs the parts; returns the exit code: 1 if one did not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="PART,...", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="few repeats: shows that it works, no more")
    arguments = parser.parse_args(argv)
    names = arguments.only.split(",") if arguments.only else list(PARTS)
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"--only: {', '.join(unknown)}: expected {', '.join(PARTS)}")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES)
    print(f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}")
    print("All of one part was measured in this one run. Medians, with [minimum, maximum].")
    failed = False
    for name in names:
        try:
            PARTS[name](quick=arguments.quick)
        except (BenchError, HotfireError, RunnerError) as error:
            failed = True
            print(f"   {name} did not run: {error}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

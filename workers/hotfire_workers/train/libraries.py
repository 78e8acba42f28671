"""A library set: a folder of libraries put in front of `sys.path`, so that they are imported instead of the own ones.

`pip install --no-deps --target FOLDER deepspeed==0.18.2` makes one. Everything else comes from the interpreter's own
environment. The processes of a set are started with `HOTFIRE_LIBRARY_SET=FOLDER` and call `enter` before they import
anything but the standard library and this house; what they start inherits it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

LIBRARY_SET = "HOTFIRE_LIBRARY_SET"
"""Environment variable: the set's folder."""
_EXTENSIONS = "TORCH_EXTENSIONS_DIR"


def current() -> str | None:
    """The folder of the set that this process runs with; None: the own libraries."""
    return os.environ.get(LIBRARY_SET) or None


def enter() -> None:
    """Put the set in front, for this process and all that it starts.

    An extension compiled for one version of DeepSpeed is not another's: where the operator names an extension folder,
    a set has a folder of its own below it. (Where none is named, it lies in the environment's own folder anyway.)

    Raises:
        ValueError: The folder is not there.
    """
    folder = current()
    if folder is None or folder in sys.path:
        return
    if not Path(folder).is_dir():
        raise ValueError(f"{LIBRARY_SET} {folder!r}: there is no such folder")
    sys.path.insert(0, folder)
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *([inherited] if inherited else [])])
    if extensions := os.environ.get(_EXTENSIONS):
        digest = hashlib.sha256(folder.encode()).hexdigest()[:8]
        os.environ[_EXTENSIONS] = str(Path(extensions) / f"{Path(folder).name}-{digest}")

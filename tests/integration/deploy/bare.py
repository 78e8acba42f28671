"""Bare environments for the tests of installation steps."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[3]


def training_environment(folder: Path) -> Path:
    """An environment with the training libraries and without Hotfire, as a training image is; returns its interpreter.

    It sees the site-packages of this environment by a plain path. The files there that put an editable Hotfire on
    `sys.path` are not read for such a path, so that our code can only come from where the steps put it.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, env=clean_environment())
    python = folder / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    Path(site, "training.pth").write_text(sysconfig.get_path("purelib") + "\n")
    script = "import torch, importlib.util; assert importlib.util.find_spec('hotfire') is None"
    subprocess.run([python, "-c", script], check=True, cwd=folder, env=clean_environment())
    return python


def clean_environment(**more: str) -> dict[str, str]:
    """This environment without any setting of ours or of Python; with our interpreter and its pip first on PATH."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith("HOTFIRE_") and k not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    own = str(Path(sys.executable).parent)
    return kept | {"PATH": own + os.pathsep + kept.get("PATH", os.defpath)} | more


def copy_sources(target: Path) -> None:
    """What is tracked here, or would be: what a checkout has."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((ROOT / name).read_bytes())


def size_bytes(folder: Path) -> int:
    """Of all files below it."""
    return sum(f.lstat().st_size for f in folder.rglob("*") if not f.is_dir())

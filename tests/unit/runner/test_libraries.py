"""Entering a library set, on the training side."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hotfire_workers.train import libraries
from hotfire_workers.train.imports import Environment


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("PYTHONPATH", "TORCH_EXTENSIONS_DIR", libraries.LIBRARY_SET):
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)


def test_without_a_set_nothing_changes() -> None:
    before = list(sys.path)
    libraries.enter()
    assert sys.path == before
    assert "PYTHONPATH" not in os.environ


def test_a_set_is_in_front_for_this_process_and_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Environment.current(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "/other")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", "/extensions")
    folder = tmp_path / "deepspeed-0.18.2"
    folder.mkdir()
    monkeypatch.setenv(libraries.LIBRARY_SET, str(folder))
    libraries.enter()
    libraries.enter()  # twice is once
    assert sys.path[0] == str(folder)
    assert os.environ["PYTHONPATH"] == f"{folder}:/other"
    extensions = Path(os.environ["TORCH_EXTENSIONS_DIR"])
    assert extensions.parent == Path("/extensions")
    assert extensions.name.startswith("deepspeed-0.18.2-")
    environment = Environment.current(tmp_path)
    assert environment.key != own.key
    assert environment.extensions == extensions
    assert environment.owns_extensions


def test_a_missing_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(libraries.LIBRARY_SET, "/nowhere/at/all")
    with pytest.raises(ValueError, match="HOTFIRE_LIBRARY_SET '/nowhere/at/all': there is no such folder"):
        libraries.enter()

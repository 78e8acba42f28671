import gzip
import hashlib
import os
import time

import pytest

from hotfire_service.store import (
    ArtifactError,
    ArtifactMissing,
    ArtifactStore,
    ArtifactTooLarge,
    StoreSettings,
)


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(settings=StoreSettings(artifacts_url=str(tmp_path / "artifacts")))


def test_put_and_fetch(store, tmp_path):
    name = store.put(gzip.compress(b"rows"), max_bytes=1000)
    assert store.exists(name)
    assert store.fetch(name, tmp_path / "rows").read_bytes() == b"rows"
    with store.open(name) as file:
        assert hashlib.sha256(file.read()).hexdigest() == name.removeprefix("artifacts/")


def test_tenants_do_not_share(store, tmp_path):
    name = store.put(b"mine", max_bytes=1000, tenant="a")
    assert not store.exists(name, tenant="b")
    with pytest.raises(ArtifactMissing):
        store.fetch(name, tmp_path / "x", tenant="b")


def test_limit(store):
    with pytest.raises(ArtifactTooLarge):
        store.put(b"x" * 11, max_bytes=10)
    assert list(store.spool_path().parent.iterdir()) == []


@pytest.mark.parametrize("name", ["artifacts/../../etc/passwd", "x", "artifacts/" + "AB" * 32, ""])
def test_names_cannot_escape(store, name):
    with pytest.raises(ArtifactError):
        store.exists(name)


def test_delete_is_idempotent(store):
    name = store.put(b"x", max_bytes=10)
    store.delete(name)
    store.delete(name)
    assert not store.exists(name)


def test_any_fsspec_address_works(tmp_path):
    store = ArtifactStore(f"memory://hotfire-{os.getpid()}", settings=StoreSettings())
    name = store.put(b"in memory", max_bytes=100)
    assert store.fetch(name, tmp_path / "x").read_bytes() == b"in memory"
    store.delete(name)
    assert not store.exists(name)


def test_broken_uploads_are_swept(store):
    old, new = store.spool_path(), store.spool_path()
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 100_000,) * 2)
    assert store.sweep_incoming() == 1
    assert new.exists()

"""Where model and data come from, and what this worker refuses to open."""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
from pathlib import Path

import pytest
from scripted import settings

from hotfire import wire
from hotfire.v1 import spec_pb2
from hotfire_service.store import ArtifactMissing, ArtifactStore, StoreSettings
from hotfire_workers.resolve import NotAllowedError, Resolver


@pytest.fixture
def resolver(tmp_path):
    def make(**changes):
        (tmp_path / "run").mkdir(exist_ok=True)
        artifacts = ArtifactStore(str(tmp_path / "artifacts"), settings=StoreSettings())
        given = {"allowed_roots": [str(tmp_path / "allowed")]} | changes
        return Resolver(run_dir=tmp_path / "run", settings=settings(tmp_path, **given), artifacts=artifacts)

    (tmp_path / "allowed" / "model").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    return make


def test_a_path_below_a_root_is_used_where_it_lies(resolver, tmp_path):
    model = spec_pb2.ModelSpec(
        path=str(tmp_path / "allowed" / "model"), num_layers=2, init=spec_pb2.INIT_RANDOM
    )
    assert resolver().model(model) == {
        "path": str(tmp_path / "allowed" / "model"),
        "init": "RANDOM",
        "num_layers": 2,
        "trust_remote_code": False,
    }
    data = spec_pb2.DataSpec(uri=f"file://{tmp_path}/allowed/a%20b.jsonl")
    assert resolver().data(data)["path"] == str(tmp_path / "allowed" / "a b.jsonl")


@pytest.mark.parametrize("path", ["{}/outside", "{}/allowed/../outside", "{}/allowed/link", "/etc"])
def test_nothing_outside_the_roots_is_opened(resolver, tmp_path, path):
    (tmp_path / "allowed" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(NotAllowedError, match="HOTFIRE_WORKER_ALLOWED_ROOTS"):
        resolver().model(spec_pb2.ModelSpec(path=path.format(tmp_path)))


@pytest.mark.parametrize("uri", ["s3://bucket/key", "http://127.0.0.1/x", "memory://x", "file:///etc/passwd"])
def test_no_other_scheme_is_opened(resolver, uri):
    with pytest.raises(NotAllowedError):
        resolver().data(spec_pb2.DataSpec(uri=uri))


def test_an_allowed_scheme_is_fetched_within_the_limit(resolver):
    import fsspec

    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/jobs/rows.jsonl", b'{"text": "a"}\n')
    filesystem.pipe("/jobs/model/config.json", b"{}")
    filesystem.pipe("/jobs/model/sub/a.json", b"{}")
    allowed = resolver(allowed_uri_schemes=["file", "memory"])
    path = allowed.data(spec_pb2.DataSpec(uri="memory://jobs/rows.jsonl"))["path"]
    assert Path(path).read_text() == '{"text": "a"}\n'
    folder = allowed.model(spec_pb2.ModelSpec(uri="memory://jobs/model"))["path"]
    assert Path(f"{folder}/sub/a.json").read_text() == "{}"
    with pytest.raises(NotAllowedError, match="MAX_FETCH_BYTES"):
        resolver(allowed_uri_schemes=["memory"], max_fetch_bytes=5).data(
            spec_pb2.DataSpec(uri="memory://jobs/rows.jsonl")
        )


def test_the_hub_is_asked_only_where_it_is_allowed(resolver):
    model = spec_pb2.ModelSpec(hub_id="org/name", revision="main")
    with pytest.raises(NotAllowedError, match="HUB_ACCESS"):
        resolver().model(model)
    assert resolver(hub_access=True).model(model)["hub_id"] == "org/name"


def test_artifacts_are_fetched_and_unpacked(resolver, tmp_path):
    it = resolver()
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    with tarfile.open(tmp_path / "m.tar", "w") as tar:
        tar.add(tmp_path / "m" / "config.json", arcname="config.json")
    model = it.artifacts.put((tmp_path / "m.tar").read_bytes(), max_bytes=2**20)
    data = it.artifacts.put(b'{"text": "a"}\n', max_bytes=2**20)
    folder = it.model(spec_pb2.ModelSpec(artifact=model))["path"]
    assert Path(f"{folder}/config.json").read_text() == "{}"
    assert Path(it.data(spec_pb2.DataSpec(artifact=data))["path"]).read_text() == '{"text": "a"}\n'
    with pytest.raises(ArtifactMissing):
        it.data(spec_pb2.DataSpec(artifact="artifacts/" + "0" * 64))


def test_folders_of_data_from_afar_and_from_a_tar_are_read(resolver, tmp_path):
    import fsspec

    from hotfire_workers.train.data.read import read_rows

    parts = {f"train-0000{n}-of-00002.jsonl.gz": gzip.compress(b'{"text": "%d"}\n' % n) for n in range(2)}
    with tarfile.open(tmp_path / "d.tar", "w") as tar:
        for name, content in parts.items():
            fsspec.filesystem("memory").pipe(f"/far/set/{name}", content)
            (tmp_path / name).write_bytes(content)
            tar.add(tmp_path / name, arcname=name)
    artifact = resolver().artifacts.put((tmp_path / "d.tar").read_bytes(), max_bytes=2**20)
    for spec in (spec_pb2.DataSpec(uri="memory://far/set"), spec_pb2.DataSpec(artifact=artifact)):
        shutil.rmtree(tmp_path / "run")  # one run, one sample
        it = resolver(allowed_uri_schemes=["memory"])
        rows = read_rows(Path(it.data(spec)["path"]))
        assert [(raw.row, raw.value) for raw in rows] == [(1, {"text": "0"}), (2, {"text": "1"})]


def test_inline_rows_become_lines(resolver):
    rows = [{"text": "ä", "n": 3}, {"text": "b"}]
    data = spec_pb2.DataSpec(rows=[wire.dict_to_struct(row) for row in rows])
    lines = Path(resolver().data(data)["path"]).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == rows


def test_an_operator_can_redact_everything(resolver):
    data = spec_pb2.DataSpec(rows=[wire.dict_to_struct({"text": "a"})])
    assert resolver(redact=True).data(data)["redact"] is True
    assert resolver().data(data)["redact"] is False

import io
import json
import os
import struct
import tarfile

import pytest

from hotfire import _upload, aio
from hotfire import spec as specs
from hotfire._upload import Upload
from hotfire.client import Client
from hotfire.errors import UploadError
from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1 import spec_pb2


def safetensors(tensors: dict[str, bytes]) -> bytes:
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, content in tensors.items():
        header[name] = {
            "dtype": "U8",
            "shape": [len(content)],
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "m"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "template.jinja").write_text("x" * 1000)
    (folder / "tokenizer.json").write_text("y" * 2_500_000)
    tensors = {"model.embed.weight": b"e" * 10} | {f"model.layers.{i}.w": bytes([i]) * 7 for i in range(12)}
    (folder / "model.safetensors").write_bytes(safetensors(tensors))
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "optimizer.pt").write_bytes(b"z")
    for skipped in (".git", "global_step10", "checkpoint-5"):
        (folder / skipped).mkdir()
        (folder / skipped / "f").write_text("no")
    return folder


def tar_of(folder, **fields):
    payload = _upload.model_payload(folder, spec_pb2.ModelSpec(**fields))
    content = b"".join(payload.chunks())
    assert len(content) == payload.size_bytes
    return tarfile.open(fileobj=io.BytesIO(content)), content


def test_a_folder_becomes_a_plain_tar(model):
    tar, content = tar_of(model)
    members = tar.getmembers()
    assert [m.name for m in members] == [
        "config.json",
        "model.safetensors",
        "sub/template.jinja",
        "tokenizer.json",
    ]
    assert all(m.isreg() and m.mtime == 0 and m.uid == 0 and not m.uname for m in members)
    for member in members:
        assert tar.extractfile(member).read() == (model / member.name).read_bytes()
    os.utime(model / "config.json", (1, 1))
    assert tar_of(model)[1] == content


def test_the_hubs_cache_of_links_becomes_files(model, tmp_path):
    blob = tmp_path / "blob"
    blob.write_text("real")
    (model / "vocab.txt").symlink_to(blob)
    tar, _ = tar_of(model)
    assert tar.getmember("vocab.txt").isreg()
    assert tar.extractfile("vocab.txt").read() == b"real"


def test_what_cannot_be_sent_is_named(model, tmp_path):
    (model / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UploadError, match="broken link"):
        tar_of(model)
    (model / "broken").unlink()
    (model / "linked").symlink_to(tmp_path)
    with pytest.raises(UploadError, match="link to a folder"):
        tar_of(model)
    (model / "linked").unlink()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UploadError, match="no files"):
        tar_of(tmp_path / "empty")


def test_random_weights_are_not_sent(model):
    tar, _ = tar_of(model, init=spec_pb2.INIT_RANDOM)
    assert "model.safetensors" not in tar.getnames()


def test_few_layers_travel_alone(model):
    from safetensors import safe_open

    index = {"weight_map": {f"model.layers.{i}.w": "model.safetensors" for i in range(12)}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    tar, _ = tar_of(model, num_layers=2)
    path = model.parent / "shallow.safetensors"
    path.write_bytes(tar.extractfile("model.safetensors").read())
    with safe_open(path, framework="np") as file:
        assert sorted(file.keys()) == ["model.embed.weight", "model.layers.0.w", "model.layers.1.w"]
        assert file.get_tensor("model.layers.1.w").tolist() == [1] * 7
    kept = json.loads(tar.extractfile("model.safetensors.index.json").read())["weight_map"]
    assert len(kept) == 2
    (model / "model.safetensors").write_bytes(b"no such format")
    with pytest.raises(UploadError, match="cannot be cut"):
        tar_of(model, num_layers=2)


def test_a_gguf_file_is_a_model_too(tmp_path):
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF")
    assert tar_of(path)[0].getnames() == ["tiny.gguf"]


# --- What is uploaded, and when ---------------------------------------------------------------------------------


def place(job, mode=Upload.AUTO, *, loopback=False, overrides=(), **limits):
    loaded = specs.load(job, overrides=overrides)
    return _upload.place(loaded, mode, loopback=loopback, limits=service_pb2.Limits(**limits))


def kinds(placement):
    return [payload.kind for payload, _ in placement.uploads]


def test_auto_uploads_only_to_elsewhere(job):
    assert kinds(place(job, loopback=True)) == []
    assert kinds(place(job)) == [service_pb2.KIND_MODEL, service_pb2.KIND_DATA]
    assert kinds(place(job, Upload.ALWAYS, loopback=True)) == [service_pb2.KIND_MODEL, service_pb2.KIND_DATA]
    assert kinds(place(job, Upload.NEVER)) == []


def test_an_absolute_path_in_a_mapping_is_the_workers(job):
    override = [f'model={{"path": "{job}/model"}}']
    assert kinds(place(job, overrides=override)) == [service_pb2.KIND_DATA]
    assert kinds(place(job, Upload.ALWAYS, overrides=override)) == [
        service_pb2.KIND_MODEL,
        service_pb2.KIND_DATA,
    ]


def test_weights_over_the_limit_list_the_choices(job):
    (job / "model" / "model.safetensors").write_bytes(b"\0" * 50_000)
    with pytest.raises(UploadError) as raised:
        place(job, max_upload_bytes=20_000)
    for choice in ("where the workers see it", "init: random", "num_layers"):
        assert choice in str(raised.value)
    assert kinds(place(job, max_upload_bytes=20_000, overrides=["model.init=random"]))
    with pytest.raises(UploadError, match="head -n 500"):
        place(job, max_upload_bytes=5, overrides=['model={"path": "/m"}'])


def test_rows_travel_inline_while_they_are_few(job):
    few = place(job, loopback=True, overrides=['data=[{"text": "a"}]'], max_inline_rows=1)
    assert not few.uploads
    assert len(few.spec.data.rows) == 1
    many = place(job, loopback=True, overrides=['data=[{"text": "a"}, {"text": "b"}]'], max_inline_rows=1)
    assert b"".join(many.uploads[0][0].chunks()) == b'{"text": "a"}\n{"text": "b"}\n'
    with pytest.raises(UploadError, match="--upload never"):
        place(job, Upload.NEVER, overrides=['data=[{"text": "a"}, {"text": "b"}]'], max_inline_rows=1)


# --- Over the wire ----------------------------------------------------------------------------------------------


def test_an_upload_arrives_whole_and_once(service, address, job):
    (job / "model" / "big.json").write_bytes(os.urandom(3 * 2**20 + 17))
    with Client(address) as client:
        for _ in range(2):
            client.create_preflight(job, upload="always")
    assert len(service.uploads) == 2
    assert sorted(map(len, service.uploads.values()))[1] > 3 * 2**20
    spec = service.named("CreatePreflight")[0].spec
    assert {spec.model.artifact, spec.data.artifact} == {f"artifacts/{key}" for key in service.uploads}
    assert not spec.data.HasField("uri")


async def test_the_asyncio_twin_uploads_the_same(service, address, job):
    async with aio.Client(address) as client:
        await client.create_preflight(job, upload="always")
    with Client(address) as client:
        client.create_preflight(job, upload="always")
    first, second = service.named("CreatePreflight")
    assert first.spec == second.spec

"""UploadArtifact: limits, hashes, kinds, tenants."""

import gzip
import hashlib
import io
import tarfile

import grpc
import pytest

from hotfire.v1 import preflight_service_pb2 as service_pb2
from hotfire.v1.preflight_service_pb2_grpc import PreflightServiceStub
from hotfire_service.store import ArtifactStore

DATA, MODEL = service_pb2.KIND_DATA, service_pb2.KIND_MODEL


def messages(content: bytes, *, kind=DATA, chunk=2**20, **header):
    yield service_pb2.UploadArtifactRequest(header=service_pb2.ArtifactHeader(kind=kind, **header))
    for start in range(0, len(content), chunk):
        yield service_pb2.UploadArtifactRequest(chunk=content[start : start + chunk])


def tar(name="config.json", content=b"{}") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def refused(stub, details, store_settings):
    async def refused(requests) -> tuple[grpc.StatusCode, dict]:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.UploadArtifact(requests)
        spool = ArtifactStore(settings=store_settings).spool_path().parent
        assert list(spool.iterdir()) == []
        return error.value.code(), details(error.value)

    return refused


async def test_upload_and_use(stub, make_request, store_settings, tmp_path):
    content = b'{"text": "row"}\n' * 200_000
    sha = hashlib.sha256(content).hexdigest()
    request = messages(content, size_bytes=len(content), sha256=sha, filename="train.jsonl")
    artifact = (await stub.UploadArtifact(request)).artifact
    assert artifact == f"artifacts/{sha}"
    fetched = ArtifactStore(settings=store_settings).fetch(artifact, tmp_path / "x")
    assert fetched.read_bytes() == content
    create = make_request()
    create.spec.data.CopyFrom(type(create.spec.data)(artifact=artifact))
    assert (await stub.CreatePreflight(create)).preflight.spec.data.artifact == artifact


async def test_a_known_hash_needs_no_content(stub):
    content = b"{}\n"
    sha = hashlib.sha256(content).hexdigest()
    await stub.UploadArtifact(messages(content))
    assert (await stub.UploadArtifact(messages(b"", sha256=sha))).artifact == f"artifacts/{sha}"


async def test_a_hash_known_as_data_is_not_known_as_a_model(stub, refused):
    content = tar()
    sha = hashlib.sha256(content).hexdigest()
    await stub.UploadArtifact(messages(content))
    code, _ = await refused(messages(b"", kind=MODEL, sha256=sha))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    await stub.UploadArtifact(messages(content, kind=MODEL, sha256=sha))
    await stub.UploadArtifact(messages(b"", kind=MODEL, sha256=sha))


async def test_a_data_file_cannot_be_the_model(stub, make_request, details):
    artifact = (await stub.UploadArtifact(messages(b"{}\n"))).artifact
    create = make_request()
    create.spec.model.artifact = artifact
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.CreatePreflight(create)
    (violation,) = details(error.value)["BadRequest"].field_violations
    assert violation.field == "spec.model.artifact"
    assert "KIND_MODEL" in violation.description


async def test_broken_promises(refused):
    code, found = await refused(messages(b"{}", size_bytes=3, sha256="ab" * 32))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    fields = [v.field for v in found["BadRequest"].field_violations]
    assert fields == ["header.size_bytes", "header.sha256"]


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [service_pb2.UploadArtifactRequest(chunk=b"x")],
        [*messages(b"x"), *messages(b"x")],
        list(messages(b"x", kind=0)),
        list(messages(b"x", sha256="AB" * 32)),
        list(messages(b"x", size_bytes=-1)),
        list(messages(b"")),
        list(messages(b"x" * (2**20 + 1), chunk=2**20 + 1)),
        list(messages(b"no tar" * 1000, kind=MODEL)),
        list(messages(tar("../x"), kind=MODEL)),
    ],
)
async def test_wrong_uploads(refused, requests):
    code, found = await refused(iter(requests))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert found["BadRequest"].field_violations


@pytest.mark.parametrize("service_settings", [{"max_upload_bytes": 2**20}], indirect=True)
async def test_too_large_by_promise_and_by_content(refused):
    for request in (messages(b"", size_bytes=2**20 + 1), messages(b"x" * (2**20 + 1), chunk=2**18)):
        code, found = await refused(request)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert found["ErrorInfo"].reason == "ARTIFACT_TOO_LARGE"
        assert found["QuotaFailure"].violations


@pytest.mark.parametrize("store_settings", [{"max_unpacked_bytes": 2**20}], indirect=True)
async def test_decompression_bomb(refused):
    code, _ = await refused(messages(gzip.compress(b"\0" * 2**24)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


TOKENS = {"tokens": {"team-a": "aaaaaaaa", "team-b": "bbbbbbbb"}, "token": "dddddddd"}


@pytest.mark.parametrize("service_settings", [TOKENS], indirect=True)
async def test_tenants_see_only_their_own(server, make_request, worker):
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = PreflightServiceStub(channel)

        def bearer(letter: str) -> tuple[tuple[str, str], ...]:
            return (("authorization", f"Bearer {letter * 8}"),)

        async def code(call) -> grpc.StatusCode:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call
            return error.value.code()

        info = service_pb2.GetServerInfoRequest()
        assert await code(stub.GetServerInfo(info)) is grpc.StatusCode.UNAUTHENTICATED
        assert await code(stub.GetServerInfo(info, metadata=bearer("x"))) is grpc.StatusCode.UNAUTHENTICATED

        request = make_request(preflight_id="same", request_id="same")
        a = (await stub.CreatePreflight(request, metadata=bearer("a"))).preflight
        request.labels["other"] = "body"
        b = (await stub.CreatePreflight(request, metadata=bearer("b"))).preflight
        assert a.name == b.name == "preflights/same"
        get = service_pb2.GetPreflightRequest(name="preflights/same")
        assert await code(stub.GetPreflight(get, metadata=bearer("d"))) is grpc.StatusCode.NOT_FOUND

        claim = worker.claim("team-a.same")
        assert claim.tenant == "team-a"
        assert claim.preflight.name == "preflights/same"
        worker.finish(claim)
        listed = await stub.ListPreflights(service_pb2.ListPreflightsRequest(), metadata=bearer("b"))
        assert [p.state for p in listed.preflights] == [1]

        header = messages(b"{}\n")
        artifact = (await stub.UploadArtifact(header, metadata=bearer("a"))).artifact
        request = make_request()
        request.spec.data.CopyFrom(type(request.spec.data)(artifact=artifact))
        assert await stub.CreatePreflight(request, metadata=bearer("a"))
        refused = stub.CreatePreflight(request, metadata=bearer("b"))
        assert await code(refused) is grpc.StatusCode.INVALID_ARGUMENT

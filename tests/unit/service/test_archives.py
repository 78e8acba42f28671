import gzip
import io
import tarfile

import pytest
import zstandard

from hotfire_service.store.archives import check_tar, decompressed, unpack_tar
from hotfire_service.store.errors import ArtifactError, ArtifactTooLarge

LIMITS = {"max_bytes": 1000, "max_files": 5}


def tar(*members: tuple[str, bytes] | tarfile.TarInfo) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                info.mode = 0o4777
                archive.addfile(info, io.BytesIO(member[1]))
    out.seek(0)
    return out


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_decompression_is_recognised(pack):
    text = b'{"text": "hi"}\n' * 50
    packed = io.BytesIO(pack(text))
    assert b"".join(decompressed(packed, max_bytes=10_000)) == text


def test_several_members():
    packed = io.BytesIO(gzip.compress(b"a" * 10) + gzip.compress(b"b" * 10))
    assert b"".join(decompressed(packed, max_bytes=100)) == b"a" * 10 + b"b" * 10
    frames = io.BytesIO(zstandard.compress(b"a" * 10) + zstandard.compress(b"b" * 10))
    assert b"".join(decompressed(frames, max_bytes=100)) == b"a" * 10 + b"b" * 10


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_bombs_are_stopped(pack):
    packed = pack(b"\0" * 50_000_000)
    assert len(packed) < 100_000
    chunks = decompressed(io.BytesIO(packed), max_bytes=1_000_000)
    with pytest.raises(ArtifactTooLarge):
        list(chunks)


def test_damage():
    packed = bytearray(gzip.compress(b"hello" * 1000))
    packed[20] ^= 0xFF
    with pytest.raises(ArtifactError, match="damaged"):
        list(decompressed(io.BytesIO(packed), max_bytes=10_000))
    list(decompressed(io.BytesIO(packed), max_bytes=10_000, tolerate_damage=True))


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_cut_file_is_damage(pack):
    packed = pack(b"hello world" * 1000)[:-6]
    with pytest.raises(ArtifactError, match="damaged"):
        list(decompressed(io.BytesIO(packed), max_bytes=100_000))


def test_a_good_tar(tmp_path):
    content = tar(("config.json", b"{}"), ("sub/weights.safetensors", b"w" * 10))
    unpack_tar(content, tmp_path / "model", **LIMITS)
    assert (tmp_path / "model" / "config.json").read_bytes() == b"{}"
    weights = tmp_path / "model" / "sub" / "weights.safetensors"
    assert weights.read_bytes() == b"w" * 10
    assert weights.stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize(
    "bad",
    [
        tar(("/etc/passwd", b"x")),
        tar(("../x", b"x")),
        tar(("a/../../x", b"x")),
        tar(("a\\..\\x", b"x")),
        tar(link("x", "/etc/passwd", tarfile.SYMTYPE), ("y", b"")),
        tar(("y", b""), link("x", "y", tarfile.LNKTYPE)),
        tar(link("x", "", tarfile.CHRTYPE), ("y", b"")),
        tar(("x", b"1"), ("./x", b"2")),
        tar(),
        io.BytesIO(b"this is no tar" * 100),
        io.BytesIO(gzip.compress(tar(("x", b"1")).read())),
    ],
)
def test_bad_tars_are_refused(bad, tmp_path):
    with pytest.raises(ArtifactError):
        unpack_tar(bad, tmp_path / "model", **LIMITS)
    assert not (tmp_path / "model").exists()


def test_limits():
    with pytest.raises(ArtifactTooLarge):
        check_tar(tar(("x", b"1" * 1001)), **LIMITS)
    with pytest.raises(ArtifactError, match="more than 5 files"):
        check_tar(tar(*[(f"f{i}", b"") for i in range(6)]), **LIMITS)

import pytest

from hotfire.v1 import spec_pb2
from hotfire_service.admission import Violations
from hotfire_service.admission.sources import check_data, check_deepspeed, check_model
from hotfire_service.settings import ServiceSettings

SHA = "ab" * 32


def model(settings: ServiceSettings | None = None, **fields) -> list[tuple[str, str]]:
    violations = Violations()
    check_model(spec_pb2.ModelSpec(**fields), settings or ServiceSettings(), violations)
    return violations.found


def data(settings: ServiceSettings | None = None, **fields) -> list[tuple[str, str]]:
    violations = Violations()
    check_data(spec_pb2.DataSpec(**fields), settings or ServiceSettings(), violations)
    return violations.found


def test_a_source_is_required():
    assert model() == [("spec.model", "exactly one of hub_id, path, uri, artifact is required")]
    assert data()[0][0] == "spec.data"
    violations = Violations()
    check_deepspeed(spec_pb2.DeepSpeedSpec(), violations)
    assert violations.found[0][0] == "spec.deepspeed"


def test_only_one_source_of_data():
    found = data(artifact=f"artifacts/{SHA}", hub_id="org/set")
    assert "given: artifact, hub_id" in found[0][1]


def test_artifact_names():
    violations = Violations()
    assert check_model(spec_pb2.ModelSpec(artifact=f"artifacts/{SHA}"), ServiceSettings(), violations) == SHA
    assert not violations.found
    assert model(artifact="artifacts/../../etc")[0][0] == "spec.model.artifact"


@pytest.mark.parametrize("path", ["/data/glm", "/data", "/data/./x/../glm"])
def test_paths_below_a_root(path):
    assert model(ServiceSettings(allowed_roots=["/data"]), path=path) == []


@pytest.mark.parametrize("path", ["/etc/passwd", "/data/../etc", "/database", "data/glm", "~/glm", ""])
def test_paths_outside_the_roots(path):
    found = model(ServiceSettings(allowed_roots=["/data"]), path=path)
    assert [f for f, _ in found] == ["spec.model.path"]


def test_a_link_does_not_lead_out(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    settings = ServiceSettings(allowed_roots=[str(root)])
    assert model(settings, path=str(root / "link" / "model"))
    assert not model(settings, path=str(root / "model"))


def test_no_roots_no_paths():
    assert "ALLOWED_ROOTS" in model(path="/data/glm")[0][1]


@pytest.mark.parametrize(
    ("uri", "is_good"),
    [
        ("file:///data/train.jsonl", True),
        ("file://localhost/data/train.jsonl", True),
        ("file:///etc/passwd", False),
        ("file:///data/%2e%2e/etc/passwd", False),
        ("file://host/data/x", False),
        ("s3://bucket/key", False),
        ("http://169.254.169.254/x", False),
        ("simplecache::s3://bucket/key", False),
        ("train.jsonl", False),
    ],
)
def test_uris(uri, is_good):
    assert (data(ServiceSettings(allowed_roots=["/data"]), uri=uri) == []) is is_good


def test_a_scheme_can_be_allowed():
    assert data(ServiceSettings(allowed_uri_schemes=["s3"]), uri="s3://bucket/key") == []


def test_the_hub_is_a_setting():
    assert "HUB_ACCESS" in model(hub_id="THUDM/glm-4-9b-chat")[0][1]
    assert model(ServiceSettings(hub_access=True), hub_id="THUDM/glm-4-9b-chat") == []
    assert model(ServiceSettings(hub_access=True), hub_id="../x")


def test_revision_and_split_belong_to_the_hub():
    settings = ServiceSettings(allowed_roots=["/data"])
    assert model(settings, path="/data/m", revision="main") == [("spec.model.revision", "only with hub_id")]
    assert ("spec.data.split", "only with hub_id") in data(settings, uri="file:///data/x", split="train")


def test_too_many_inline_rows():
    violations = Violations()
    spec = spec_pb2.DataSpec()
    for _ in range(3):
        spec.rows.add().update({"text": "x"})
    check_data(spec, ServiceSettings(max_inline_rows=2), violations)
    assert [f for f, _ in violations.found] == ["spec.data.rows"]

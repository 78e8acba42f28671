"""The files for pre-commit, GitHub and GitLab: their commands are run as those would run them."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
GOOD = '{"train_batch_size": 8, "zero_optimization": {"stage": 2}}'
BAD = '{\n  "train_batch_size": 8,\n  "zero_optimisation": {"stage": 2}\n}\n'


@pytest.fixture
def shell(tmp_path):
    (tmp_path / "good.json").write_text(GOOD)
    (tmp_path / "bad.json").write_text(BAD)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(command, **variables):
        environment = {
            **os.environ,
            "PATH": path,
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
            **variables,
        }
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_github_action(shell, tmp_path):
    action = yaml.safe_load((ROOT / "deploy/ci/action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    *_, step = action["runs"]["steps"]
    used = set(re.findall(r"inputs\.(\w+)", yaml.safe_dump(action["runs"])))
    assert used == set(action["inputs"])
    done = shell(step["run"], FILES="good.json bad.json", ARGUMENTS="--num-gpus 8", SARIF="")
    assert done.returncode == 1
    assert "::error file=bad.json,line=3,col=3" in done.stdout
    assert (tmp_path / "summary.md").read_text().count("# ") >= 2
    done = shell(step["run"], FILES="good.json", ARGUMENTS="", SARIF="out.sarif")
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"version": "2.1.0"' in (tmp_path / "out.sarif").read_text()


def test_gitlab_job(shell, tmp_path):
    (job,) = yaml.safe_load((ROOT / "deploy/ci/gitlab-ci.yml").read_text()).values()
    script = "\n".join(job["script"])
    for name, code in (("good.json", 0), ("bad.json", 1)):
        done = shell(script, HOTFIRE_FILE=name, HOTFIRE_ARGUMENTS="--num-gpus 8")
        assert done.returncode == code
    report = tmp_path / job["artifacts"]["reports"]["junit"]
    assert ET.parse(report).getroot().get("failures") == "1"
    assert (tmp_path / "hotfire.html").read_text().startswith("<!doctype html>")


def test_pre_commit_hooks(shell, tmp_path):
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert [hook["id"] for hook in hooks] == ["hotfire-lint", "hotfire-lint-fix"]
    lint, fix = hooks
    assert shell(f"{lint['entry']} good.json bad.json").returncode == 1
    assert shell(f"{lint['entry']} good.json").returncode == 0
    assert shell(f"{fix['entry']} good.json bad.json").returncode == 0
    assert "zero_optimization" in (tmp_path / "bad.json").read_text()
    for name, wanted in (
        ("ds_config.json", True),
        ("conf/ds_z3.json", True),
        ("zero2.json", True),
        ("train_zero3_bf16.json", True),
        ("my_deepspeed.json", True),
        ("hotfire.yaml", True),
        ("ds.json", True),
        ("dsl.json", False),
        ("zeros.json", False),
        ("package.json", False),
        ("fields.json", False),
        ("config.yaml", False),
    ):
        assert bool(re.search(lint["files"], name)) is wanted, name


def test_the_hook_installs_what_the_command_needs():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text()):
        assert sorted(hook["additional_dependencies"]) == sorted(extras["cli"])

"""Bad input with the real server and worker: a clear word that names field, value and remedy; nothing hangs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from stack_helpers import Command, Stack
from worker_helpers import EXAMPLES

from hotfire.v1 import preflight_pb2, report_pb2

HEALTHY = EXAMPLES / "glm4-healthy"
TWO_STEPS = ("--set", "plan.num_steps=2")


def words(text: str) -> str:
    """Without line breaks and frames."""
    return " ".join(text.replace("|", " ").split())


def test_a_wrong_request_hears_of_everything_at_once(
    stack: Stack, cli: Callable[..., Command], tmp_path: Path
) -> None:
    command = cli(
        *("check", HEALTHY, "--pool", "gpus", "--label", "run=refused", "--set", f"model.path={tmp_path}"),
        *("--set", "plan.num_steps=-1", "--set", "plan.num_ranks=999"),
    )
    assert command.code(20) == 2
    for field, value, remedy in (
        ("spec.model.path", str(tmp_path), f"outside the allowed roots: {EXAMPLES}"),
        ("spec.plan.num_steps", "-1", "from 1 to 200"),
        ("spec.plan.num_ranks", "999", "from 1 to 64"),
        ("spec.plan.pool", "'gpus'", "known: default, nobody"),
    ):
        (line,) = (x for x in command.err.splitlines() if x.startswith(f"  {field}: "))
        assert value in line
        assert remedy in line
    with stack.client() as client:
        assert not list(client.list_preflights(labels={"run": "refused"}))


def _no_folder(model: Path) -> None:
    shutil.rmtree(model)


def _no_config(model: Path) -> None:
    (model / "config.json").unlink()


def _junk_config(model: Path) -> None:
    (model / "config.json").write_bytes(b"\x00\xff{{")


def _junk_tokenizer(model: Path) -> None:
    for file in model.glob("token*"):
        file.write_bytes(b"\x00\x01")


def _locked(model: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    model.chmod(0)


@pytest.mark.parametrize(
    ("damage", "says", "remedy"),
    [
        (_no_folder, "does not exist on this worker", "Check the path as the worker sees it"),
        (_no_config, "has no config.json", "Give a folder written by save_pretrained"),
        (_junk_config, "config.json is not valid JSON", "Copy the folder again"),
        (_junk_tokenizer, "tokenizer of", "Put the tokenizer's files"),
        (_locked, "cannot be opened: Permission denied", "readable for the user that the worker runs as"),
    ],
)
def test_a_model_that_cannot_be_read(
    stack: Stack,
    cli: Callable[..., Command],
    jobs_dir: Path,
    damage: Callable[[Path], None],
    says: str,
    remedy: str,
) -> None:
    model = jobs_dir / damage.__name__
    shutil.copytree(HEALTHY / "model", model)
    damage(model)
    command = cli("check", HEALTHY, *TWO_STEPS, "--set", f"model.path={model}")
    try:
        assert command.code(60) == 1, command.said
    finally:
        if model.exists():
            model.chmod(0o700)
    said = words(command.out)
    # The rows are not to blame.
    assert said.partition("FAIL: ")[2].startswith("The model cannot be loaded: "), said
    assert "unreadable-model" in said
    assert "unreadable-sample D119" not in said
    assert model.name in said or damage is _junk_config
    assert says in said
    assert remedy in said
    assert not re.search(r"\w\.\.(?!\.)", said)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "The sample is empty."),
        (b"\n\n", "The sample is empty."),
        (bytes(range(256)) * 40, "The sample is a binary file, not rows."),
        (b'{"mesages": []}\n{"mesages": []}\n', "mesages"),
    ],
)
def test_a_sample_that_cannot_be_read(
    cli: Callable[..., Command], jobs_dir: Path, content: bytes, says: str
) -> None:
    data = jobs_dir / "bad.jsonl"
    data.write_bytes(content)
    command = cli("check", HEALTHY, *TWO_STEPS, "--set", f"data={data}")
    assert command.code(60) == 1, command.said
    said = words(command.out)
    assert "unreadable-sample D119 error" in said
    assert says in said
    assert "JSON Lines" in said


@pytest.mark.parametrize(
    ("change", "says", "remedy"),
    [
        # Known without running it, and cured by a patch that ran.
        (
            {"zero_optimization": {"stage": 2, "no_such_key": 1}},
            "knows no key zero_optimization.no_such_key",
            "without zero_optimization.no_such_key was tried and trains",
        ),
        ({"zero_optimization": {"stage": 7}}, "zero_optimization.stage is 7", "one of 0, 1, 2, 3"),
        # Known without running it, and there is no patch to try.
        (
            {"optimizer": {"type": "NoSuchAdam", "params": {"lr": 1e-3}}},
            "DeepSpeed 0.19.8 has no such optimizer",
            "Name an optimizer that DeepSpeed or torch.optim has",
        ),
        # A scheduler that DeepSpeed does not have.
        (
            {"scheduler": {"type": "NoSuchLR", "params": {}}},
            "NoSuchLR",
            "degenerate-schedule C113",
        ),
    ],
)
def test_a_config_that_deepspeed_refuses(
    cli: Callable[..., Command], jobs_dir: Path, change: dict[str, object], says: str, remedy: str
) -> None:
    config = json.loads((HEALTHY / "ds_zero2.json").read_text()) | change
    path = jobs_dir / "ds.json"
    path.write_text(json.dumps(config, indent=2))
    command = cli("check", HEALTHY, *TWO_STEPS, "--set", f"deepspeed={path}", "--set", "plan.bisect=false")
    assert command.code(60) == 1, command.said
    assert says in words(command.out)
    assert remedy in words(command.out)


def test_a_pool_without_a_worker_says_so_and_can_be_left(stack: Stack, cli: Callable[..., Command]) -> None:
    command = cli("check", HEALTHY, "--pool", "nobody", "--label", "run=nobody", "--cancel-on-interrupt")
    command.until("no worker of the pool 'nobody' is alive", 20)
    name = stack.find("nobody")
    assert "no worker of the pool 'nobody'" in stack.get(name).progress.message
    command.process.send_signal(signal.SIGINT)
    assert command.code(15) == 130
    assert stack.get(name).state == preflight_pb2.STATE_CANCELLED


def test_a_queue_that_nobody_serves_expires(stack: Stack, cli: Callable[..., Command]) -> None:
    command = cli("check", HEALTHY, "--pool", "nobody", "--set", "plan.queue_timeout=1s")
    assert command.code(20) == 3, command.said
    assert "expired" in command.said.lower()


def test_more_ranks_than_the_slot_holds_are_left_out_and_said(
    stack: Stack, cli: Callable[..., Command]
) -> None:
    command = cli("check", HEALTHY, *TWO_STEPS, "--label", "run=ranks", "--set", "plan.num_ranks=4")
    assert command.code(60) == 0, command.said
    report = stack.get(stack.find("ranks")).report
    assert report.verdict == report_pb2.VERDICT_PASS
    candidate = report.trials[0]
    assert candidate.num_ranks == 2
    (said,) = (a for a in candidate.adaptations if a.path == "/plan/num_ranks")
    assert (said.before.number_value, said.after.number_value) == (4, 2)
    assert "2 ranks" in said.reason

"""Specs that `hotfire init` makes of other tools' files reach a verdict, with model and data replaced by tiny ones.

One local set for all. The files: those of the adapters' own tests (the tools' keys, our values), those that come
with the tools' packages (`real/`, with their source on top), and whatever lies in `HOTFIRE_ADAPTER_EXAMPLES`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hotfire
from hotfire import adapters
from hotfire.local import LocalStack

#: The first of them starts the set, which may have to build an extension.
pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[3]
TINY = ROOT / "examples" / "glm4-healthy"
OWN = ROOT / "tests" / "unit" / "adapters"
PREFIXES = ("llamafactory_", "axolotl_", "swift_", "accelerate_", "trl_", "hf_")
#: None of them may hang in a search: what is asked here is whether the spec runs.
PLAN = ("plan.num_steps=3", "plan.bisect=false", "plan.verify_fixes=false", "plan.save_drill=false")


def _cases() -> list[Path]:
    more = os.environ.get("HOTFIRE_ADAPTER_EXAMPLES")
    folders = [OWN / "real", *([Path(more)] if more else []), OWN / "files"]
    return [path for folder in folders for path in sorted(folder.iterdir()) if path.name.startswith(PREFIXES)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with LocalStack(roots=[TINY, tmp_path_factory.getbasetemp()]) as started:
        yield started


def run(stack: LocalStack, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"HOTFIRE_SERVER": stack.address, "HOTFIRE_TOKEN": stack.token or ""}
    return subprocess.run(
        [sys.executable, "-m", "hotfire.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=env,
        cwd=cwd,
        timeout=170,
        check=False,
    )


def tiny(source: Path, folder: Path) -> list[str]:
    """What is replaced: the model, the data, lengths beyond the tiny model's, a DeepSpeed config that is not here."""
    model = {"path": str(TINY / "model"), "init": "random"}
    changes = [f"model={json.dumps(model)}", f"data={json.dumps({'uri': str(TINY / 'data.jsonl')})}"]
    adapted = adapters.read(source)
    if "deepspeed" in adapted.missing or any(note.startswith("deepspeed:") for note in adapted.notes):
        config = {
            "train_micro_batch_size_per_gpu": "auto",
            "gradient_accumulation_steps": "auto",
            "bf16": {"enabled": "auto"},
            "fp16": {"enabled": "auto"},
            "zero_optimization": {"stage": 2},
        }
        (folder / "ds.json").write_text(json.dumps(config))
        changes.append(f"deepspeed={folder / 'ds.json'}")
    training = adapted.document.get("training", {})
    if training.get("max_length", 0) > 384 or "max_length" not in training:
        changes.append("training.max_length=384")
    if training.get("packing"):
        changes.append("training.packing=false")  # packed rows of a tiny sample would be two
    return changes


def verdict_of(stack: LocalStack, source: Path, folder: Path, *plan: str) -> tuple[int, dict]:
    made = run(stack, "init", "--from", source, cwd=folder)
    assert made.returncode == 0, made.stderr
    sets = [word for change in (*tiny(source, folder), *plan) for word in ("--set", change)]
    done = run(stack, "check", "hotfire.yaml", *sets, "--format", "json", cwd=folder)
    assert done.returncode in (0, 1, 3), done.stdout[-3000:] + done.stderr[-3000:]
    return done.returncode, json.loads(done.stdout)


def assert_explained(code: int, record: dict) -> None:
    report = record["report"]
    assert record["state"] == "STATE_SUCCEEDED", record.get("error")
    assert report["headline"]
    if code == 1:
        errors = [f for f in report["findings"] if f["severity"] == "SEVERITY_ERROR"]
        assert errors
        assert all(f["message"] and f["rule"] for f in errors)
    if code == 3:
        assert report["verdict"] == "VERDICT_INCONCLUSIVE"
        assert report["headline"].startswith("No verdict: ")
    # A rule that fails itself would be our fault, not the file's.
    assert [c for c in report["checks"] if c["outcome"] == "OUTCOME_ERROR"] == []


def test_one_of_them(stack, tmp_path):
    """LLaMA-Factory's own full fine-tuning example, to the end: it trains."""
    code, record = verdict_of(stack, OWN / "real" / "llamafactory_full.yaml", tmp_path)
    assert_explained(code, record)
    assert code == 0, record["report"]["headline"]
    assert record["report"]["zero"]["submitted_stage"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("source", _cases(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_each_of_them(stack, tmp_path, source):
    code, record = verdict_of(stack, source, tmp_path, *PLAN)
    print(f"\n{source.name}: {code} {record['report']['headline']}")
    assert_explained(code, record)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["object", "json", "yaml"])
def test_training_arguments_as_transformers_writes_them(stack, tmp_path, form):
    """The object, and the files that it writes itself."""
    transformers = pytest.importorskip("transformers")
    yaml = pytest.importorskip("yaml")
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=2,
        learning_rate=1e-4,
        lr_scheduler_type="cosine",
        warmup_steps=2,
        max_steps=20,
        bf16=True,
        use_cpu=True,
        report_to="none",
    )
    config = {
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "bf16": {"enabled": "auto"},
        "zero_optimization": {"stage": 2},
    }
    training: object = arguments
    if form == "json":
        training = tmp_path / "training_args.json"
        training.write_text(arguments.to_json_string())
    elif form == "yaml":
        training = tmp_path / "training_args.yaml"
        training.write_text(yaml.safe_dump(json.loads(arguments.to_json_string())))
    report = hotfire.check(
        model={"path": str(TINY / "model"), "init": "random"},
        data=str(TINY / "data.jsonl"),
        deepspeed=config,
        training=training if form == "object" else str(training),
        plan={"num_steps": 3, "bisect": False, "verify_fixes": False},
        server=stack.address,
        token=stack.token,
    )
    assert report.verdict in ("PASS", "WARN"), report.headline

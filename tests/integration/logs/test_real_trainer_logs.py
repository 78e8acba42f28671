"""`hotfire diagnose` over what the real HF Trainer writes: its trainer_state.json, and what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import hotfire
from hotfire.rules.evidence import Verdict

#: One process for all, because most of its time are imports.
_SCRIPT = """
import sys, torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

def train(name, labelled, learning_rate=1e-3, broken_from=None):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=32,
    ))
    ids = torch.randint(0, 64, (40, 12))
    rows = [{"input_ids": row, "labels": row.clone() if labelled else torch.full_like(row, -100)} for row in ids]
    class Breaking(Trainer):
        def compute_loss(self, model, inputs, **kwargs):
            loss = super().compute_loss(model, inputs, **kwargs)
            if broken_from is not None and self.state.global_step >= broken_from:
                outputs = None
                if isinstance(loss, tuple):
                    loss, outputs = loss
                loss = loss * float("nan")
                return (loss, outputs) if outputs is not None else loss
            return loss
    arguments = TrainingArguments(
        output_dir=f"{sys.argv[1]}/{name}", max_steps=10, per_device_train_batch_size=2, learning_rate=learning_rate,
        lr_scheduler_type="constant", logging_steps=1, report_to="none", use_cpu=True, save_strategy="no",
        disable_tqdm=False,
    )
    print(f"=== {name}", flush=True)
    trainer = Breaking(model=model, args=arguments, train_dataset=rows)
    trainer.train()
    trainer.save_state()

train("healthy", True)
train("unlabelled", False)
train("nan", True, broken_from=4)
"""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per job, each with trainer_state.json and what was printed of it."""
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("jobs")
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    for part in done.stdout.split("=== ")[1:]:
        name, _, text = part.partition("\n")
        (folder / name / "train.log").write_text(text)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("file", ["trainer_state.json", "train.log"])
def test_healthy(jobs, file):
    found = hotfire.diagnose(jobs / "healthy" / file)
    assert found.verdict is Verdict.PASS, found.headline
    assert len(found.log.entries) == 10
    assert found.log.finished or file == "trainer_state.json"


@pytest.mark.slow
@pytest.mark.parametrize("file", ["trainer_state.json", "train.log"])
def test_no_row_has_a_label(jobs, file):
    found = hotfire.diagnose(jobs / "unlabelled" / file)
    assert found.verdict is Verdict.FAIL
    assert found.causes[0].cause == "no-supervised-tokens"
    assert "zero-gradient-race" not in [c.cause for c in found.causes]


@pytest.mark.slow
@pytest.mark.parametrize("file", ["trainer_state.json", "train.log"])
def test_nan_from_the_fifth_step_on(jobs, file):
    found = hotfire.diagnose(jobs / "nan" / file)
    assert found.verdict is Verdict.FAIL
    assert found.causes[0].cause == "non-finite-forward"
    state = json.loads((jobs / "nan" / "trainer_state.json").read_text())
    assert [e["loss"] for e in state["log_history"] if "loss" in e][-1] == 0.0  # the Trainer hides the NaN

"""Packed rows in real trials: every loop and the reference see the packs, and rows do not see each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from train_loop_jobs import RunTrial, ds_config, make_rows

from hotfire_workers.train.data.packs import Packing, Piece, pack

MAX_LENGTH = 40


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    return make_rows(24, masked=lambda row, position: position < 2 + row % 7)


def write_packs(folder: Path, rows: list[dict[str, Any]], strategy: str) -> list[dict[str, Any]]:
    how = Packing(strategy=strategy, length=MAX_LENGTH, keeps_apart=strategy != "wrapped")
    pieces = [Piece(row=r["row"], input_ids=r["input_ids"], labels=r["labels"]) for r in rows]
    lines = [p.line(how) for p in pack(pieces, how)[0]]
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "data.json").write_text(json.dumps({"pad_token_id": 0, "extra": {}}))
    return lines


def expected_loss(model_dir: Path, rows: list[dict[str, Any]], numbers: list[int]) -> float:
    """The token mean over rows that run alone, without any packing."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_dir).eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for row in (r for r in rows if r["row"] in numbers):
            labels = torch.tensor([row["labels"]])
            num = int((labels[:, 1:] != -100).sum())
            total += float(model(input_ids=torch.tensor([row["input_ids"]]), labels=labels).loss) * num
            count += num
    return total / count


@pytest.mark.parametrize("loop", ["TRAINER", "DEEPSPEED"])
@pytest.mark.parametrize("stage", [2, None])
def test_rows_of_a_pack_do_not_see_each_other(
    tmp_path: Path, run_trial: RunTrial, model_dir: Path, rows: list[Any], loop: str, stage: int | None
) -> None:
    folder = tmp_path / "packed"
    write_packs(folder, rows, "bfd")
    trial = run_trial(
        None if stage is None else ds_config(stage),
        loop,
        training={"packing": True, "max_length": MAX_LENGTH},
        prepared_dir=str(folder),
        reference_config=ds_config(2) if stage is None else None,
    )
    assert trial.error is None, trial.error
    step = trial.steps[0]
    batches = [batch for rank in step.ranks for batch in rank.micro_batches]
    numbers = [row for batch in batches for row in batch.rows]
    assert len(numbers) > 8  # two micro-batches of two packs on each of two ranks
    # The Trainer takes the token mean over the step, our loop the mean of each micro-batch.
    if loop == "TRAINER":
        expected = expected_loss(model_dir, rows, numbers)
    else:
        expected = sum(expected_loss(model_dir, rows, b.rows) for b in batches) / len(batches)
    assert step.loss == pytest.approx(expected, rel=1e-3)


def test_wrapped_rows_are_one_text(tmp_path: Path, run_trial: RunTrial, rows: list[Any]) -> None:
    folder = tmp_path / "packed"
    lines = write_packs(folder, rows, "wrapped")
    trial = run_trial(
        ds_config(2),
        training={"packing": True, "max_length": MAX_LENGTH, "packing_strategy": "wrapped"},
        prepared_dir=str(folder),
    )
    assert trial.error is None, trial.error
    batch = trial.steps[0].ranks[0].micro_batches[0]
    assert batch.num_tokens == 2 * MAX_LENGTH
    assert batch.rows == [*lines[0]["rows"], *lines[1]["rows"]]

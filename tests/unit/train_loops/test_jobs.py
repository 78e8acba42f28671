"""Rows to ranks, configs to what runs here, lines to files."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
import torch

from hotfire.rules.evidence import TrialRequest
from hotfire_workers.train.entry import read_request
from hotfire_workers.train.loops import adapt
from hotfire_workers.train.loops.adapt import adapt_config
from hotfire_workers.train.loops.arguments import make_training_arguments
from hotfire_workers.train.loops.batches import (
    NoRowsError,
    RepeatedRows,
    RowCollator,
    micro_batches,
    read_rows,
    short_of_rows,
)
from hotfire_workers.train.loops.context import RankContext
from hotfire_workers.train.loops.faults import Faults, InjectedFault
from hotfire_workers.train.loops.hooks import scalar
from hotfire_workers.train.loops.pace import Pace
from hotfire_workers.train.loops.precision import precision_of
from hotfire_workers.train.probes.loss import ROWS, take_rows
from hotfire_workers.train.writer import EventWriter


@pytest.fixture
def context(tmp_path: Path) -> RankContext:
    request = TrialRequest(
        name="t",
        role="CANDIDATE",
        run_dir=str(tmp_path),
        prepared_dir=str(tmp_path),
        model={},
        training={},
        deepspeed={},
        loop="TRAINER",
        num_ranks=1,
        micro_batch_size=2,
        gradient_accumulation_steps=4,
    )
    return RankContext(
        request=request,
        rank=0,
        local_rank=0,
        world_size=1,
        device=torch.device("cpu"),
        writer=EventWriter(str(tmp_path), 0),
        pace=Pace(8, 3, 40),
        faults=Faults({}, 0),
        total_steps=500,
    )


def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor([row["input_ids"] for row in rows])}


def test_batches_go_to_the_ranks_in_turn_and_rows_repeat() -> None:
    rows = [{"row": n, "input_ids": [n]} for n in range(1, 6)]
    collator = RowCollator(collate, carry_rows=True)
    seen = []
    for rank in range(2):
        batches = micro_batches(rows, collator, size=2, rank=rank, world_size=2, device=torch.device("cpu"))
        seen.append([take_rows(next(batches)) for _ in range(3)])
    assert seen == [[[1, 2], [5, 1], [4, 5]], [[3, 4], [2, 3], [1, 2]]]
    assert [item["row"] for item in RepeatedRows(rows, 7)][5:7] == [1, 2]


def test_row_numbers_travel_beside_the_inputs_only_when_asked() -> None:
    row = {"row": 7, "input_ids": [1, 2]}
    batch = RowCollator(collate, carry_rows=True)([row])
    assert batch[ROWS].tolist() == [7]
    assert take_rows(batch) == [7]
    assert set(batch) == {"input_ids"}
    assert set(RowCollator(collate, carry_rows=False)([row])) == {"input_ids"}


def test_no_rows_is_an_error_and_few_rows_a_note(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n")
    with pytest.raises(NoRowsError, match="no usable row"):
        read_rows(str(tmp_path))
    assert short_of_rows(8, 8) is None
    assert "takes 8 rows and the sample has 7" in str(short_of_rows(7, 8))


def test_adam_is_taken_from_torch_where_its_op_is_not_built(
    context: RankContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapt, "_is_built", lambda _op: False)
    given = {
        "train_micro_batch_size_per_gpu": 2,
        "zero_optimization": {"stage": 2},
        "optimizer": {"type": "Adam", "params": {"lr": 1e-3, "bias_correction": True}},
    }
    config = adapt_config(context, given)
    assert config["optimizer"] == {"type": "Adam", "params": {"lr": 1e-3, "torch_adam": True}}
    assert given["optimizer"]["params"] == {"lr": 1e-3, "bias_correction": True}  # type: ignore[index]
    assert [a["path"] for a in context.adaptations] == [
        "/deepspeed/optimizer/params/torch_adam",
        "/deepspeed/optimizer/params/bias_correction",
    ]
    assert all(a["reason"] for a in context.adaptations)


def test_what_is_built_or_needs_no_op_is_left_alone(
    context: RankContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = {"optimizer": {"type": "AdamW", "params": {"lr": 1e-3}}}
    monkeypatch.setattr(adapt, "_is_built", lambda _op: True)
    assert adapt_config(context, section) == section
    monkeypatch.setattr(adapt, "_is_built", lambda _op: False)
    for untouched in (
        {"optimizer": {"type": "SGD", "params": {"lr": 1e-3}}},
        {"optimizer": {"type": "AdamW", "params": {"torch_adam": True}}},
        {"zero_optimization": {"stage": 2}},
    ):
        assert adapt_config(context, untouched) == untouched
    assert context.adaptations == []


@pytest.mark.parametrize("zero", [{"offload_optimizer": {"device": "cpu"}}, {"cpu_offload": True}])
def test_a_clients_optimizer_may_be_offloaded(
    context: RankContext, monkeypatch: pytest.MonkeyPatch, zero: dict
) -> None:
    monkeypatch.setattr(adapt, "_is_built", lambda _op: False)
    config = adapt_config(context, {"zero_optimization": {"stage": 2, **zero}})
    assert config["zero_force_ds_cpu_optimizer"] is False
    assert config["zero_allow_untested_optimizer"] is True
    assert len(context.adaptations) == 2


def test_an_optimizer_without_a_torch_twin_is_said_to_be_replaced(
    context: RankContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapt, "_is_built", lambda _op: False)
    config = adapt_config(context, {"optimizer": {"type": "Lion", "params": {"lr": 1e-4}}})
    assert config["optimizer"]["type"] == "AdamW"
    assert "update rule of Lion" in context.adaptations[0]["reason"]


def test_training_arguments_are_the_jobs_where_they_touch_a_step(context: RankContext) -> None:
    context.request.training |= {
        "learning_rate": 3e-4,
        "warmup_ratio": 0.1,
        "neftune_noise_alpha": 5.0,
        "save_steps": 10,
        "report_to": "wandb",
        "max_length": 128,
        "logging_nan_inf_filter": False,
        "optim": "paged_adamw_8bit",
        "frobnicate": 1,
    }
    arguments = make_training_arguments(context, deepspeed=None)
    assert (arguments.learning_rate, arguments.neftune_noise_alpha) == (3e-4, 5.0)
    assert arguments.get_warmup_steps(500) == 50
    assert (arguments.max_steps, arguments.logging_steps, arguments.report_to) == (500, 1, [])
    assert arguments.logging_nan_inf_filter
    assert (arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps) == (2, 4)
    assert sorted(context.ignored_arguments) == [
        "frobnicate",
        "logging_nan_inf_filter",
        "report_to",
        "save_steps",
    ]
    assert arguments.optim.value == "adamw_torch"
    assert context.adaptations[0]["path"] == "/training/optim"


@pytest.mark.parametrize(
    ("config", "training", "expected"),
    [
        ({}, {}, "fp32"),
        ({"bf16": {"enabled": True}}, {}, "bf16"),
        ({"bfloat16": {"enabled": True}}, {}, "bf16"),
        ({"fp16": {"enabled": "auto"}, "bf16": {"enabled": "auto"}}, {"fp16": True}, "fp16"),
        ({"fp16": {"enabled": "auto"}}, {"bf16": True}, "fp32"),
        ({"fp16": {"enabled": False}}, {"fp16": True}, "fp32"),
    ],
)
def test_precision(config: dict, training: dict, expected: str) -> None:
    assert precision_of(config, training, "DEEPSPEED") == expected


@pytest.mark.parametrize("loop", ["TRAINER", "ACCELERATE"])
@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_accelerate_adds_the_section_that_the_arguments_ask_for(loop: str, name: str) -> None:
    assert precision_of({"zero_optimization": {"stage": 2}}, {name: True}, loop) == name
    assert precision_of({name: {"enabled": False}}, {name: True}, loop) == "fp32"


def test_lines_survive_and_keep_what_is_not_finite(tmp_path: Path) -> None:
    writer = EventWriter(str(tmp_path), 3)
    with writer.during("model"):
        writer.line("step", loss=math.nan, grad_norm=math.inf)
        writer.heartbeat()  # a line was just written: nothing to say
    writer.enter("steps")
    writer.doing = "backward"
    assert writer.phase == "backward"
    lines = [json.loads(line) for line in (tmp_path / "events" / "rank3.jsonl").read_text().splitlines()]
    assert [line["ev"] for line in lines] == ["enter", "step", "phase", "enter"]
    assert math.isnan(lines[1]["loss"])
    assert lines[1]["grad_norm"] == math.inf
    assert lines[2]["name"] == "model"
    assert all(a["t_ns"] <= b["t_ns"] for a, b in itertools.pairwise(lines))


def test_faults_strike_their_rank_and_step_only() -> None:
    spec = {"die": {"rank": 1, "step": 2, "how": "raise"}, "nan_loss": {"rank": 1, "step": 3}}
    Faults(spec, 0).before_micro_batch(2, 1)
    mine = Faults(spec, 1)
    mine.before_micro_batch(1, 1)
    mine.before_micro_batch(2, 2)
    with pytest.raises(InjectedFault):
        mine.before_micro_batch(2, 1)
    loss = torch.tensor(1.0)
    assert float(mine.on_loss(loss, 2, 1)) == 1.0
    assert math.isnan(mine.on_loss(loss, 3, 1))
    assert float(mine.on_loss(loss, 3, 2)) == 1.0


def test_requests_with_unknown_fields_are_refused(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"name": "x", "colour": "red"}))
    with pytest.raises(ValueError, match="unknown fields colour"):
        read_request(str(tmp_path / "r.json"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), (1, 1.0), ("0.001", 0.001), ("nan", math.nan), (torch.tensor(2.0), 2.0)],
)
def test_scalar(value: object, expected: float | None) -> None:
    assert (
        scalar(value) == pytest.approx(expected, nan_ok=True)
        if expected is not None
        else scalar(value) is None
    )

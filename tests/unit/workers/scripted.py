"""A runner that answers from a script: what a trial's request looks like decides how the trial goes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.unit.rules import factory

from hotfire import spec as specs
from hotfire.rules.evidence import (
    DataEvidence,
    ModelFacts,
    PrepareRequest,
    Role,
    Step,
    Trial,
    TrialError,
    TrialRequest,
)
from hotfire.v1 import spec_pb2
from hotfire_workers.runner.base import PrepareResult
from hotfire_workers.settings import WorkerSettings

CONFIG = {
    "train_micro_batch_size_per_gpu": 2,
    "gradient_accumulation_steps": 2,
    "gradient_clipping": 1.0,
    "bf16": {"enabled": True},
    "zero_optimization": {"stage": 2},
}
TRAINING = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 4,
    "max_steps": 100,
    "max_length": 512,
    "bf16": True,
    "assistant_only_loss": True,
}


class ScriptedRunner:
    """Trials are healthy unless the script says otherwise."""

    def __init__(
        self,
        *,
        trial: Callable[[TrialRequest], Trial | None] = lambda _: None,
        data: Callable[[PrepareRequest], DataEvidence | None] = lambda _: None,
        model: ModelFacts | None = None,
        error: TrialError | None = None,
    ) -> None:
        self._trial, self._data, self._model, self._error = trial, data, model, error
        self.trials: list[TrialRequest] = []
        self.preparations: list[PrepareRequest] = []

    def prepare(
        self, request: PrepareRequest, *, timeout_s: float, should_stop: Callable[[], bool] | None = None
    ) -> PrepareResult:
        self.preparations.append(request)
        if self._error is not None:
            return PrepareResult(error=self._error)
        data = self._data(request) or factory.data(max_length=request.training.get("max_length"))
        views = [{"row": n, "why": "", "ids": [1], "texts": ["a"], "trained": [1]} for n in range(1, 41)]
        Path(request.out_dir, "samples.jsonl").write_text("".join(json.dumps(v) + "\n" for v in views))
        return PrepareResult(model=self._model or factory.evidence().model, data=data)

    def run_trial(
        self,
        request: TrialRequest,
        *,
        on_step: Callable[[Step], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Trial:
        self.trials.append(request)
        trial = self._trial(request) or healthy(request)
        if on_step is not None:
            for step in trial.steps:
                on_step(step)
        return dataclasses.replace(
            trial, name=request.name, role=Role(request.role), num_ranks=request.num_ranks
        )

    @property
    def names(self) -> list[str]:
        return [request.name for request in self.trials]


def stage_of(request: TrialRequest) -> int:
    return int(((request.deepspeed or {}).get("zero_optimization") or {}).get("stage", 0))


def healthy(request: TrialRequest) -> Trial:
    if request.deepspeed is None:
        return factory.reference()
    trial = factory.trial(stage=stage_of(request))
    trial.effective_config = request.deepspeed
    return trial


def broken(request: TrialRequest, **changes: Any) -> Trial:
    """No token has a label."""
    return dataclasses.replace(healthy(request), steps=factory.dead_steps(**changes))


def spec(tmp_path: Path, **changes: Any) -> spec_pb2.PreflightSpec:
    """A healthy job; `deepspeed`, `training`, `plan`, `data`, `cluster` can be changed."""
    model = tmp_path / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(
        json.dumps(
            {
                "model_type": "llama",
                "vocab_size": 512,
                "hidden_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "intermediate_size": 128,
            }
        )
    )
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Question {n}"},
                {"role": "assistant", "content": "An answer"},
            ]
        }
        for n in range(20)
    ]
    document: dict[str, Any] = {
        "model": {"path": str(model)},
        "data": {"rows": rows} | changes.pop("data", {}),
        "deepspeed": {"config": changes.pop("deepspeed", CONFIG)},
        "training": changes.pop("training", TRAINING),
        "cluster": changes.pop("cluster", {"num_gpus": 2}),
    } | changes
    return specs.load(document, base=tmp_path).message()


def settings(tmp_path: Path, **changes: Any) -> WorkerSettings:
    return WorkerSettings(
        **{"cache_dir": tmp_path / "cache", "allowed_roots": [str(tmp_path)], "device": "cpu"} | changes
    )

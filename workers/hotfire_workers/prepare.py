"""Preparing the model and the sample, once per content: patches of the config alone share one preparation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotfire.rules.evidence import DataEvidence, ModelFacts, Plan, PrepareRequest
from hotfire_workers import devices, gguf_header, rowtexts
from hotfire_workers.adapt import Adapted
from hotfire_workers.budget import Budget
from hotfire_workers.forecast import Forecast, forecast
from hotfire_workers.job import Job
from hotfire_workers.resolve import NotAllowedError, Resolver
from hotfire_workers.runner.base import Runner
from hotfire_workers.settings import WorkerSettings
from hotfire_workers.slots import Slot

#: Share of the time left that reading the sample may take.
_READING_SHARE = 0.25
_LEAST_READING_S = 10.0
#: Training arguments that change neither the tokens nor the weights.
_ONLY_FOR_STEPS = {
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "warmup_ratio",
    "max_steps",
    "num_train_epochs",
    "max_grad_norm",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "optim",
    "bf16",
    "fp16",
    "gradient_checkpointing",
    "gradient_checkpointing_kwargs",
    "enable_input_require_grads",
    "optimizer_source",
    "loop",
}


@dataclass(kw_only=True, slots=True)
class Prepared:
    """What one preparation left, or why there is none."""

    folder: Path
    model: dict[str, Any] = field(default_factory=dict)
    """The `model` of trial requests."""
    requested: dict[str, Any] | None = None
    """The `model` of its request."""
    data_path: str | None = None
    facts: ModelFacts | None = None
    data: DataEvidence | None = None
    unavailable: dict[str, str] = field(default_factory=dict)
    """Part of the evidence -> why it is absent."""
    forecast: Forecast | None = None
    problem: str | None = None
    """Why no trial can run on this; None: one can."""

    @property
    def texts_path(self) -> str | None:
        """Where the sample's texts are: as the preparation read them, else the sample itself."""
        left = self.folder / "texts.jsonl"
        return str(left) if left.is_file() else self.data_path

    @property
    def shallow_layers(self) -> tuple[int, int] | None:
        """(layers of the model, layers that run) of a shallow copy that the slot forced."""
        facts = self.facts
        if (
            facts is None
            or self.forecast is None
            or self.forecast.max_num_layers is None
            or facts.num_layers is None
            or facts.num_layers_run is None
            or facts.num_layers_run >= facts.num_layers
        ):
            return None
        return facts.num_layers, facts.num_layers_run


@dataclass(kw_only=True, slots=True)
class Preparer:
    """Prepares jobs of one preflight.

    Attributes:
        runner: Runs the preparation.
        resolver: Fetches what the spec names.
        slot: Its memory bounds what may be loaded.
        settings: What is allowed.
        run_dir: Preparations lie below it.
        budget: They count.
        should_stop: The wish to end.
    """

    runner: Runner
    resolver: Resolver
    slot: Slot
    settings: WorkerSettings
    run_dir: Path
    budget: Budget
    should_stop: Callable[[], bool]
    _done: dict[str, Prepared] = field(default_factory=dict)

    def prepare(self, job: Job, adapted: Adapted | None) -> Prepared:
        """Prepares a job, or answers with what an equal job left.

        Args:
            job: The job.
            adapted: As it will run; None where the config cannot be read (data and model are looked at all the same).

        Raises:
            RunnerError: The runner failed.
            ArtifactError: An artifact of the spec is gone or broken.
        """
        key = self._key(job, adapted)
        if key not in self._done:
            self._done[key] = self._prepare(job, adapted, len(self._done) + 1)
        return self._done[key]

    def _key(self, job: Job, adapted: Adapted | None) -> str:
        document = job.evidence.spec
        training = {k: v for k, v in job.training.items() if k not in _ONLY_FOR_STEPS}
        micro = adapted.micro_batch_size if adapted else None
        parts = [training, document.get("data"), document.get("model"), micro]
        return json.dumps(parts, sort_keys=True, default=str)

    def _prepare(self, job: Job, adapted: Adapted | None, number: int) -> Prepared:
        prepared = Prepared(folder=self.run_dir / f"prepared-{number}")
        prepared.folder.mkdir(parents=True)
        model = self._resolve(prepared, "model", lambda: self.resolver.model(job.spec.model))
        data = self._resolve(prepared, "data", lambda: self.resolver.data(job.spec.data))
        if model is None or data is None:
            return prepared
        prepared.data_path = data.get("path")
        prepared.forecast = self._forecast(job, adapted, model, data)
        if prepared.forecast is not None and not prepared.forecast.fits:
            prepared.problem = (
                f"not even two layers of the model fit into this slot: {prepared.forecast.words}"
            )
        prepared.requested = model
        result = self.runner.prepare(
            PrepareRequest(
                out_dir=str(prepared.folder),
                model=model,
                data=data,
                training=job.training,
                micro_batch_size=adapted.micro_batch_size if adapted else 1,
                num_trial_rows=_trial_rows(job, adapted),
                time_limit_s=max(_LEAST_READING_S, _READING_SHARE * self.budget.remaining_s),
                allow_remote_code=self.settings.remote_code,
                allow_pickle=self.settings.pickle_weights,
                allow_hub=self.settings.hub_access,
                max_num_layers=prepared.forecast.max_num_layers if prepared.forecast else None,
                seed=int(job.training.get("seed", 42)),
                reuse_model_dir=self._reusable(model),
                make_weights=prepared.forecast is None or prepared.forecast.fits,
            ),
            timeout_s=max(1.0, self.budget.remaining_s),
            should_stop=self.should_stop,
        )
        if result.error is not None:
            if self.budget.is_over:
                # The runner only knows that it was stopped.
                why = "the time budget ran out while the model and the sample were prepared"
                self.budget.missed("candidate")
            else:
                why = f"the preparation failed: {result.error.type}: {result.error.message}"
            prepared.unavailable = {"model": why, "data": why}
            prepared.problem = prepared.problem or why
            return prepared
        prepared.facts, prepared.data = result.model, result.data
        made = prepared.folder / "model"
        prepared.model = {**model, "path": str(made)} if (made / "config.json").is_file() else model
        prepared.problem = prepared.problem or _problem(prepared)
        return prepared

    def _resolve(
        self, prepared: Prepared, part: str, resolve: Callable[[], dict[str, Any]]
    ) -> dict[str, Any] | None:
        try:
            return resolve()
        except NotAllowedError as error:
            prepared.unavailable[part] = str(error)
            prepared.problem = prepared.problem or str(error)
            return None

    def _reusable(self, model: dict[str, Any]) -> str | None:
        """The weights that an earlier preparation of the same model made."""
        for earlier in self._done.values():
            made = earlier.folder / "model"
            if earlier.requested == model and (made / "config.json").is_file():
                return str(made)
        return None

    def _forecast(
        self, job: Job, adapted: Adapted | None, model: dict[str, Any], data: dict[str, Any]
    ) -> Forecast | None:
        if adapted is None or "path" not in model:
            return None
        slot = self.slot
        host = int(min(slot.memory_bytes, devices.available_bytes()) * self.settings.memory_share)
        device = slot.gpu_memory_bytes
        return forecast(
            read_config(model["path"]),
            training=job.training,
            num_ranks=adapted.num_ranks,
            micro_batch_size=adapted.micro_batch_size,
            length=_longest(job.training, data.get("path")),
            available_bytes=host if device is None else int(device * self.settings.memory_share),
            per_rank=device is not None,
            num_layers=model.get("num_layers"),
            num_parameters=_gguf_parameters(model["path"]),
        )


def _longest(training: dict[str, Any], path: str | None) -> int:
    """An upper bound of the tokens of one example."""
    max_length = training.get("max_length")
    if training.get("packing") and isinstance(max_length, int) and max_length > 0:
        return max_length
    return rowtexts.longest_row_tokens(path, max_length)


def _trial_rows(job: Job, adapted: Adapted | None) -> int | None:
    """Rows that the steps of one trial take."""
    if adapted is None:
        return None
    num_steps = max(1, (job.evidence.plan or Plan()).num_steps)
    return num_steps * adapted.micro_batch_size * adapted.gradient_accumulation_steps * adapted.num_ranks


def _problem(prepared: Prepared) -> str | None:
    facts, data = prepared.facts, prepared.data
    if facts is None or data is None:
        return "the preparation left no evidence"
    if facts.blocked is not None:
        return f"the model is not loaded here: {facts.blocked_detail or facts.blocked}"
    if not facts.readable:
        return f"the model cannot be loaded: {facts.read_error or 'no reason was given'}"
    if data.read_error is not None:
        return f"the data sample cannot be read: {data.read_error}"
    if data.num_rows_usable == 0:
        return "the sample has no usable row"
    return None


def read_config(path: str) -> dict[str, Any]:
    """The config.json of a local model folder; empty where there is none that can be read."""
    try:
        value = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _gguf_parameters(path: str) -> int | None:
    """Parameters of the GGUF file that is the model, or the only one in its folder."""
    place = Path(path)
    files = [place] if place.suffix == ".gguf" else sorted(place.glob("*.gguf")) if place.is_dir() else []
    return gguf_header.count_parameters(files[0]) if len(files) == 1 else None

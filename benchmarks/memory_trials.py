"""Real trials of models made from a config alone, and what each should have taken: the measured half of the table."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bed import EXAMPLES, Bed
from hotfire.dsconfig.memory import MemoryForecast
from hotfire.rules.evidence import Environment, Evidence, Trial
from hotfire.rules.model.memory_job import trial_forecaster
from hotfire.v1 import spec_pb2
from hotfire.wire import message_from_dict

EXAMPLE = "glm4-healthy"
_VOCAB = 49_152
_NUM_ROWS = 48

#: Name -> (model_type, what of its config is changed).
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-50M": ("llama", {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8,
                            "num_attention_heads": 8, "tie_word_embeddings": True}),
    "llama-160M": ("llama", {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12,
                             "num_attention_heads": 12, "num_key_value_heads": 4}),
    "qwen3-120M": ("qwen3", {"hidden_size": 640, "intermediate_size": 1792, "num_hidden_layers": 12,
                             "num_attention_heads": 10, "num_key_value_heads": 2, "head_dim": 64}),
    "gpt_neox-100M": ("gpt_neox", {"hidden_size": 640, "intermediate_size": 2560, "num_hidden_layers": 8,
                                   "num_attention_heads": 10}),
    "gemma2-110M": ("gemma2", {"hidden_size": 640, "intermediate_size": 2560, "num_hidden_layers": 10,
                               "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 80}),
    "glm4-150M": ("glm4", {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 10,
                           "num_attention_heads": 12, "num_key_value_heads": 2, "head_dim": 64}),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One trial."""

    model: str
    stage: int
    precision: str = "bf16"
    micro: int = 2
    length: int = 128
    zero: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    loop: str = "TRAINER"
    note: str = ""

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.model}, {self.precision}, {self.micro} x {self.length}" + (
            f", {self.note}" if self.note else ""
        )


_LORA = {"peft": {"r": 16, "lora_alpha": 16, "target_modules": "all-linear"}}
_OFFLOAD = {"offload_optimizer": {"device": "cpu"}}
#: Few tokens: a trial takes seconds, and the states are what is large.
CASES = (
    *(Case(model="llama-50M", stage=stage) for stage in range(4)),
    *(Case(model="llama-50M", stage=stage, precision="fp32", length=256) for stage in range(4)),
    *(Case(model="llama-160M", stage=stage, micro=1) for stage in range(4)),
    Case(model="llama-160M", stage=1, training=_LORA, note="LoRA"),
    Case(model="llama-160M", stage=3, training=_LORA, note="LoRA"),
    Case(model="llama-50M", stage=2, zero=_OFFLOAD, note="optimizer offload"),
    Case(model="llama-50M", stage=3, zero=_OFFLOAD, note="optimizer offload"),
    Case(model="llama-50M", stage=2, precision="fp32", micro=4, length=256),
    Case(
        model="llama-50M",
        stage=2,
        precision="fp32",
        micro=4,
        length=256,
        training={"gradient_checkpointing": True},
        note="checkpointing",
    ),
    Case(
        model="llama-50M",
        stage=2,
        precision="fp32",
        micro=1,
        length=1024,
        training={"attn_implementation": "eager"},
        note="eager attention",
    ),
    Case(model="llama-50M", stage=2, training={"gradient_accumulation_steps": 2}, note="accumulation 2"),
    Case(model="llama-50M", stage=2, loop="DEEPSPEED", note="engine loop"),
    Case(model="qwen3-120M", stage=2, micro=1),
    Case(model="gpt_neox-100M", stage=1, micro=1),
    Case(model="gemma2-110M", stage=3, micro=1),
    Case(model="glm4-150M", stage=2, micro=1),
)
QUICK_CASES = (CASES[2], CASES[7], CASES[13])


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A trial, and what was forecast of it."""

    case: Case
    peak_bytes: int
    forecast: MemoryForecast
    num_parameters: int

    @property
    def error(self) -> float:
        """Forecast over measured, less 1."""
        return self.forecast.total_bytes / self.peak_bytes - 1

    @property
    def in_band(self) -> bool:
        """Measured between the low and the high end."""
        return self.forecast.low_bytes <= self.peak_bytes <= self.forecast.high_bytes


def make_models(folder: Path) -> dict[str, Path]:
    """Writes a model folder for each of `MODELS`: a config, and a tokenizer of as many words."""
    from transformers import AutoConfig

    paths = {}
    for name, (kind, changes) in MODELS.items():
        path = folder / name
        path.mkdir(parents=True)
        own = {
            "vocab_size": _VOCAB,
            "max_position_embeddings": 4096,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 2,
        }
        AutoConfig.for_model(kind, **(own | changes)).save_pretrained(path)
        for file in (EXAMPLES / EXAMPLE / "model").iterdir():
            if file.name.startswith(("tokenizer", "special_tokens", "vocab", "merges", "chat_template")):
                shutil.copy(file, path)
        paths[name] = path
    return paths


def measure(place: Bed, models: dict[str, Path], cases: tuple[Case, ...]) -> Iterator[Measured]:
    """Runs the trials, one after the other, without probes."""
    for case in cases:
        spec = _spec(case, models[case.model])
        prepared, request = place.job(spec)
        request.probes = False
        trial = place.run(place.service.runner(), request)
        yield _measured(case, trial, Evidence(
            training=dict(request.training),
            model=prepared.facts,
            data=prepared.data,
            environment=Environment(device=place.slot.device),
        ))  # fmt: skip


def _measured(case: Case, trial: Trial, evidence: Evidence) -> Measured:
    forecaster = trial_forecaster(evidence, trial)
    assert forecaster is not None
    assert trial.peak_memory_bytes is not None
    setting = dataclasses.replace(forecaster.setting, length=case.length, low_length=case.length)
    return Measured(
        case=case,
        peak_bytes=trial.peak_memory_bytes,
        forecast=forecaster.at(setting),
        num_parameters=forecaster.trained.total,
    )


def _spec(case: Case, model: Path) -> spec_pb2.PreflightSpec:
    """The job as a spec: tokenised rows, all of the asked length."""
    rows = [
        {"input_ids": [(7 * row + 13 * at) % 40_000 + 100 for at in range(case.length)]}
        for row in range(_NUM_ROWS)
    ]
    for row in rows:
        row["labels"] = list(row["input_ids"])
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": case.micro,
        "gradient_accumulation_steps": case.training.get("gradient_accumulation_steps", 1),
        "gradient_clipping": 1.0,
        "bf16": {"enabled": case.precision == "bf16"},
        "zero_optimization": {"stage": case.stage, **case.zero},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    file = model.parent / f"rows-{case.length}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return message_from_dict(
        {
            "model": {"path": str(model), "init": "RANDOM"},
            "data": {"uri": file.as_uri(), "format": "TOKENIZED"},
            "deepspeed": {"config_json": json.dumps(config)},
            "training": {
                "loop": case.loop,
                "per_device_train_batch_size": case.micro,
                "gradient_accumulation_steps": 1,
                "learning_rate": 1e-4,
                "lr_scheduler_type": "constant",
                "max_grad_norm": 1.0,
                "max_steps": 100,
                "bf16": case.precision == "bf16",
                "max_length": case.length,
                **case.training,
            },
            "plan": {"num_steps": 2, "num_ranks": 2},
        },
        spec_pb2.PreflightSpec,
    )

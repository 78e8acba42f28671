"""What the worker asks of the training environment: written as JSON, read by `hotfire_workers.train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True, slots=True)
class PrepareRequest:
    """Read the model folder and the sample; tokenise; write facts. One process, no ranks.

    Writes into `out_dir`: `model.json` (ModelFacts), `data.json` (DataEvidence), `rows.jsonl` (one line per
    usable row: {"row", "input_ids", "labels", "attention_mask"}: what the collator pads), and, where weights
    are made or cut here (random init, shallow copy), the folder `model/`.
    """

    out_dir: str
    model: dict[str, Any]
    """{"path": local folder or gguf file, "init": "PRETRAINED"|"RANDOM", "num_layers": n|None,
    "trust_remote_code": bool, "hub_id": ..., "revision": ...}."""
    data: dict[str, Any]
    """{"path": local file or folder, "format": "AUTO"|..., "role_mapping": {}, "columns": {}, "redact": bool}."""
    training: dict[str, Any]
    """Evidence.training."""
    micro_batch_size: int = 1
    allow_remote_code: bool = False
    allow_pickle: bool = False
    allow_hub: bool = False
    max_num_layers: int | None = None
    """The slot holds no more layers than this (shallow copy); None: all."""
    max_rows: int = 200_000
    """Rows of the sample that are read."""
    max_tokens: int | None = None
    """Rows behind so many tokens are looked at but, a few odd ones excepted, not tokenised; None: a default."""
    time_limit_s: float = 60.0
    """Reading of the sample stops after so long."""
    num_trial_rows: int | None = None
    """Rows that a trial takes: what the whole sample is compared with."""
    num_samples: int = 5
    seed: int = 42
    reuse_model_dir: str | None = None
    """A model folder an earlier prepare of the same preflight wrote: do not make the weights again."""
    make_weights: bool = True
    """False: the slot cannot hold the model; look at it, and make or load nothing."""


@dataclass(kw_only=True, slots=True)
class TrialRequest:
    """One short training run of `num_ranks` ranks."""

    name: str
    role: str
    run_dir: str
    """Each rank appends to `events/rank{r}.jsonl` below it; TMPDIR and logs are below it too."""
    prepared_dir: str
    """`out_dir` of the PrepareRequest."""
    model: dict[str, Any]
    """As in PrepareRequest; `path` is the folder to load (`prepared_dir/model` where that was made)."""
    training: dict[str, Any]
    deepspeed: dict[str, Any] | None
    """The adapted config (batch sizes fit `num_ranks`, unsafe keys gone); None: the reference."""
    loop: str
    """One of "TRAINER", "ACCELERATE", "DEEPSPEED"."""
    num_ranks: int
    num_steps: int = 8
    """Applied steps aimed at, scheduled + peak together."""
    num_peak_steps: int = 3
    """Of them, at the schedule's highest learning rate."""
    max_attempts: int = 40
    """Steps attempted at most."""
    max_lost_attempts: int | None = None
    """End after so many attempts if none of them had a finite loss: the outcome is known then. None: go on."""
    reference_config: dict[str, Any] | None = None
    """For the reference only: the candidate's config, from which optimizer, schedule, clipping value,
    precision and accumulation are taken."""
    total_steps: int | None = None
    """Optimizer steps of the real job (schedule length)."""
    micro_batch_size: int = 1
    gradient_accumulation_steps: int = 1
    seed: int = 42
    timeout_s: float = 120.0
    collective_timeout_s: float = 60.0
    emulate_fp16: bool = False
    """Answer True for `is_fp16_supported` on a CPU without it."""
    allow_remote_code: bool = False
    env: dict[str, str] = field(default_factory=dict)
    """Extra environment of the ranks (CUDA_VISIBLE_DEVICES, ...)."""
    library_set: str | None = None
    """Name of the worker's library set that it runs with; None: the worker's own libraries."""
    faults: dict[str, Any] = field(default_factory=dict)
    """Test code only: faults to inject in the ranks, e.g. {"scale_gradient": {"rank": 1, "factor": 2.0}}."""
    probes: bool = True
    """False: no probes at all (to measure what they cost)."""

"""The job as submitted, and everything known about it: what `judge` is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hotfire.rules.evidence.data import DataEvidence
from hotfire.rules.evidence.search import Search
from hotfire.rules.evidence.trial import Trial


@dataclass(kw_only=True, slots=True)
class ReadProblem:
    """Why a DeepSpeed text could not be read, or is read by some and not by others."""

    kind: str
    """One of "syntax", "duplicate-key", "placeholder", "not-an-object", "hjson-only" (DeepSpeed reads it, a strict
    JSON loader such as the HF Trainer's does not)."""
    message: str
    line: int | None = None
    column: int | None = None
    path: str | None = None
    """JSON pointer (into the spec) of the key, where known."""


@dataclass(kw_only=True, slots=True)
class DeepSpeedConfig:
    """The DeepSpeed config: as text, as read, as it takes effect."""

    text: str | None = None
    given: dict[str, Any] | None = None
    """As parsed; None when unreadable."""
    problems: list[ReadProblem] = field(default_factory=list)
    positions: dict[str, tuple[int, int]] = field(default_factory=dict)
    """JSON pointer *within the config* ("/zero_optimization/stage") -> (line, column), from 1."""
    effective: dict[str, Any] | None = None
    """Every "auto" resolved by whoever the loop says resolves it, aliases merged, defaults written out."""
    unresolved: list[str] = field(default_factory=list)
    """Pointers within the config of "auto" values that nothing resolves."""
    issues: Any = field(default=None, init=False, repr=False, compare=False)
    """What one walk over `given` found, for all the rules that read it: `rules.config.common.issues_of`."""


@dataclass(kw_only=True, slots=True)
class Cluster:
    """The target cluster (the contract's `cluster`)."""

    num_gpus: int | None = None
    num_nodes: int | None = None
    data_parallel_size: int | None = None
    gpu_type: str | None = None
    gpu_memory_bytes: int | None = None
    host_memory_bytes: int | None = None
    num_train_rows: int | None = None
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def world_size(self) -> int | None:
        """Data-parallel world size of the real job, if it is known."""
        return self.data_parallel_size if self.data_parallel_size is not None else self.num_gpus


@dataclass(kw_only=True, slots=True)
class Plan:
    """How the preflight runs (the contract's `plan`, defaults filled in)."""

    num_steps: int = 8
    num_ranks: int | None = None
    time_budget_s: float = 300.0
    queue_timeout_s: float = 3600.0
    stages: list[int] = field(default_factory=list)
    verify_fixes: bool = True
    bisect: bool = True
    save_drill: bool = True
    allow_cached: bool = False
    pool: str | None = None
    reference_deepspeed: dict[str, Any] | None = None
    """A DeepSpeed config that trains, as the user says: compared with in place of plain PyTorch."""


@dataclass(kw_only=True, slots=True)
class ModelFacts:
    """What is known of the model from its folder, without (or before) training it."""

    readable: bool = True
    read_error: str | None = None
    """Why the folder cannot be used, and the remedy (M110)."""
    blocked: str | None = None
    """One of "remote-code" or "pickle-weights" when policy here forbids it (M109)."""
    blocked_detail: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    """The model's config.json."""
    model_type: str | None = None
    architecture: str | None = None
    vocab_size: int | None = None
    """Rows of the input embedding."""
    tokenizer_length: int | None = None
    special_token_ids: dict[str, int] = field(default_factory=dict)
    """Such as "bos", "eos", "pad", "unk" -> id."""
    max_positions: int | None = None
    num_layers: int | None = None
    num_layers_run: int | None = None
    """Layers that the trials have (a shallow copy has fewer)."""
    num_parameters: int | None = None
    num_trainable: int | None = None
    """Scalars that the job's `peft`, `trainable`, `frozen` leave trainable."""
    num_trainable_tensors: int | None = None
    unmatched_patterns: list[str] = field(default_factory=list)
    """`trainable`/`frozen` regexes and PEFT targets that match nothing."""
    pretrained: bool | None = None
    """True: weights were loaded; False: random."""
    dtype: str | None = None
    weights_bytes: int | None = None
    weights_format: str | None = None
    """One of "safetensors", "gguf", "pickle", "none"."""
    has_chat_template: bool | None = None
    tied_embeddings: bool | None = None
    """Input embedding and output head share one weight."""
    embedding_module: str | None = None
    """Name of the input embedding, such as "model.embed_tokens"."""
    head_module: str | None = None
    """Name of the output head, such as "lm_head"."""
    linear_modules: dict[str, int] = field(default_factory=dict)
    """Last part of the names of the linear layers (the head left out) -> how many there are."""
    target_matches: dict[str, int] = field(default_factory=dict)
    """Entry of PEFT's `target_modules`, `modules_to_save` -> modules of this model that it names."""
    adapted_sides: list[str] = field(default_factory=list)
    """Which of "embedding" and "head" the adapter trains."""
    peft_error: str | None = None
    """Why PEFT (or a pattern that is no regular expression) keeps the job from choosing what it trains."""
    ties_adapters: bool | None = None
    """The PEFT here knows `ensure_weight_tying`."""
    new_tokens: dict[str, int] = field(default_factory=dict)
    """Token that the job's arguments added to the tokenizer -> its id."""
    pad_candidates: list[str] = field(default_factory=list)
    """Tokens of the vocabulary that are meant for padding, or never used, other than the end token."""
    positions: str | None = None
    """How the model counts positions: "learned" (a table), "rotary", or "relative" (no limit)."""
    tokenizer_doubts: list[str] = field(default_factory=list)
    """What says that the tokenizer is not of this model."""
    moe_modules: list[str] = field(default_factory=list)
    """Classes of the sparse mixture-of-experts blocks: what ZeRO-3 must take as leaves."""


@dataclass(kw_only=True, slots=True)
class Environment:
    """The worker."""

    versions: dict[str, str] = field(default_factory=dict)
    offered: dict[str, list[str]] = field(default_factory=dict)
    """Library -> every version that a trial can run with here, the worker's own first. Not on the wire."""
    device: str | None = None
    """Such as "cpu" or the GPU's name."""
    launcher: str | None = None
    emulated: list[str] = field(default_factory=list)
    """One sentence each: CPU instead of GPU, fp16 on a CPU without fp16, a shallow copy, ..."""
    pool: str | None = None
    extension_lock: str | None = None
    """Path of a stale build lock in the extension directory (E103)."""
    extension_errors: dict[str, str] = field(default_factory=dict)
    """Op that the config needs -> first real error of its build or load (E102)."""
    budget_spent: bool = False
    """The time budget ran out (E105)."""
    not_run: list[str] = field(default_factory=list)
    """Trials that were planned and not run for lack of budget."""
    budget_needed_s: float | None = None


@dataclass(kw_only=True, slots=True)
class Evidence:
    """Everything known about one job. Any part may be absent (None): a rule that needs it is then SKIPPED."""

    config: DeepSpeedConfig | None = None
    training: dict[str, Any] | None = None
    """TrainingSpec by field name, `other` merged in; only what was given. Enums without prefix, lower-case
    meaning kept: {"loop": "TRAINER", "learning_rate": 2e-4, "peft": {...}}. An empty dict: nothing given."""
    cluster: Cluster | None = None
    plan: Plan | None = None
    model: ModelFacts | None = None
    data: DataEvidence | None = None
    trials: list[Trial] | None = None
    """The candidate first."""
    environment: Environment | None = None
    search: Search | None = None
    """The search for guilty keys, if one was made."""
    spec: dict[str, Any] = field(default_factory=dict)
    """The spec document {deepspeed, training, data, model, cluster} that patches apply to (no rows)."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """Part name -> why it is absent, used as the reason of a SKIPPED rule ("the config cannot start")."""

    @property
    def loop(self) -> str | None:
        """The loop the job said it uses: "TRAINER", "ACCELERATE", "DEEPSPEED"; None when not said."""
        return (self.training or {}).get("loop")

    @property
    def candidate(self) -> Trial | None:
        """The candidate trial, if it was run."""
        return next((t for t in self.trials or [] if t.role == "CANDIDATE"), None)

    @property
    def reference(self) -> Trial | None:
        """The reference trial, if it was run."""
        return next((t for t in self.trials or [] if t.role == "REFERENCE"), None)

"""What one short training run left behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hotfire.rules.evidence.enums import Phase, Role, TrialOutcome
from hotfire.rules.evidence.findings import PatchOperation


@dataclass(kw_only=True, slots=True)
class MicroBatch:
    """One micro-batch of one rank at one step."""

    loss: float | None = None
    """Raw loss of this micro-batch as the loop sees it (Trainer: its share of the step loss)."""
    num_supervised_tokens: int | None = None
    rows: list[int] = field(default_factory=list)
    """Rows of the sample, from 1."""
    num_tokens: int | None = None
    """Without padding."""


@dataclass(kw_only=True, slots=True)
class RankStep:
    """What one rank saw of one step: the detail behind a `Step`."""

    rank: int
    micro_batches: list[MicroBatch] = field(default_factory=list)
    first_non_finite_parameter: str | None = None
    """Name of the first parameter whose local gradient is not finite."""
    applied: bool | None = None
    """The next three, like this one, are the same on every healthy rank."""
    grad_norm: float | None = None
    learning_rate: float | None = None
    loss_scale: float | None = None
    local_grad_norm: float | None = None
    """Norm of the reduced gradients that this rank holds: its shard under ZeRO 1 to 3, else all of them."""
    gradient_used: float | None = None
    """What the optimizer's first step used of that: 1 all of it, less: clipped, the same on every healthy
    rank."""


@dataclass(kw_only=True, slots=True)
class Step:
    """One attempt at an optimizer step, over all ranks. None = not measured; non-finite = measured."""

    step: int
    phase: Phase = Phase.SCHEDULED
    applied: bool | None = None
    loss: float | None = None
    logged_loss: float | None = None
    logged_grad_norm: float | None = None
    num_supervised_tokens: int | None = None
    grad_norm: float | None = None
    grad_norm_measured: float | None = None
    learning_rate: float | None = None
    loss_scale: float | None = None
    skipped_steps: int | None = None
    update_ratio: float | None = None
    num_silent_parameters: int | None = None
    step_seconds: float | None = None
    # Not on the wire:
    ranks: list[RankStep] = field(default_factory=list)
    planned_learning_rate: float | None = None
    """What the requested schedule gives for this step (after the applied steps so far)."""
    num_moved: int | None = None
    """Trainable tensors that moved at all."""
    num_decayed_only: int | None = None
    """Of them, those whose movement is explained by weight decay alone."""
    rounded_away_share: float | None = None
    """Of the elements with a gradient other than 0: the share whose update left the weight as it was."""
    logged_learning_rate: float | None = None
    """What the HF Trainer prints (under DeepSpeed the next step's)."""


@dataclass(kw_only=True, slots=True)
class ParameterGroup:
    """A kind of parameters at the last applied step."""

    name: str
    num_parameters: int | None = None
    num_silent_parameters: int | None = None
    grad_norm: float | None = None
    update_ratio: float | None = None
    # Not on the wire:
    silent_parameters: list[str] = field(default_factory=list)
    """Names of parameters that never got a gradient other than 0 in any step (at most 20)."""
    num_never_in_graph: int | None = None
    """Of the silent ones: those whose gradient hook never fired (no graph reaches them)."""
    rounded_away_share: float | None = None
    """As of the step: elements whose update rounds to nothing, of those with a gradient."""


@dataclass(kw_only=True, slots=True)
class TrialError:
    """The root cause of a trial that did not reach its end."""

    type: str
    """Exception class, or "Killed", "Hung", "SilentExit"."""
    message: str
    rank: int | None = None
    exit_code: int | None = None
    signal: str | None = None
    log_tail: list[str] = field(default_factory=list)
    # Not on the wire:
    phase: str | None = None
    """Phase of the rank when it happened: "model", "engine", "forward", "backward", "step", ..."""
    traceback: str | None = None
    """For our own logs only."""


@dataclass(kw_only=True, slots=True)
class Adaptation:
    """A change that lets the job run here."""

    path: str
    before: Any = None
    after: Any = None
    reason: str = ""


@dataclass(kw_only=True, slots=True)
class Trial:
    """One short training run."""

    name: str
    role: Role
    effective_config: dict[str, Any] | None = None
    patch: list[PatchOperation] = field(default_factory=list)
    adaptations: list[Adaptation] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    num_ranks: int | None = None
    outcome: TrialOutcome | None = None
    """None until the run rules have judged it."""
    reason: str | None = None
    steps: list[Step] = field(default_factory=list)
    groups: list[ParameterGroup] = field(default_factory=list)
    phase_seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    error: TrialError | None = None
    launcher: str | None = None
    # Not on the wire:
    stage: int | None = None
    """ZeRO stage that ran; None for the reference."""
    loop: str = "trainer"
    """One of "trainer", "accelerate" or "deepspeed"."""
    dtype: str = "fp32"
    """One of "fp32", "bf16" or "fp16": the precision that ran; "unknown" of a log."""
    zero_optimizer_class: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    """What else the ranks report: {"num_trainable": n, "num_parameters": n, "engine_gradient_clipping": c,
    "optimizer": name, "emulated": [..], "ignored_arguments": [..], "vocab_size": n, "warnings": [..]}."""
    completed: bool = False
    """All ranks wrote their end line."""
    num_steps_aimed: int | None = None
    seconds: float | None = None
    """From request to result."""
    repeats: str | None = None
    """Name of the trial whose configuration this one runs again, unchanged: is the outcome the same?"""
    offload: str | None = None
    """What ran on the host: "optimizer", "optimizer+param"; None: nothing."""
    library_set: str | None = None
    """Name of the library set that it ran with; None: the worker's own libraries."""
    from_log: bool = False
    """Read from the log of a job that ran elsewhere: nothing was measured, and its steps are lines of that log."""
    compared_with: str | None = None
    """Name of the reference that belongs to it, where its patch changes what the job's own one depends on."""

    @property
    def applied_steps(self) -> list[Step]:
        """Steps that moved the optimizer."""
        return [s for s in self.steps if s.applied]

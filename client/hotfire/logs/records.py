"""What a log says, line by line, before anybody draws conclusions."""

from __future__ import annotations

from dataclasses import dataclass, field

from hotfire.rules.evidence import TrialError


@dataclass(kw_only=True, slots=True)
class LogEntry:
    """One printed line of the Trainer (or of one that prints alike), as it stands."""

    line: int | None = None
    """Line of the file, from 1; None in a file that is one JSON document."""
    step: int | None = None
    """Optimizer step, where the log says which."""
    progress: int | None = None
    """Where the progress bar stood when it was printed."""
    epoch: float | None = None
    loss: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    rank: int | None = None
    """Whose line it is, where a launcher wrote that before it."""
    is_reinforcement: bool = False
    """It has rewards or advantages: a loss of 0 is then nothing unusual."""
    reward_spread: float | None = None
    """Standard deviation of the rewards, where it is printed."""
    num_overflows: int = 0
    """Steps that DeepSpeed said it skipped since the entry before."""
    loss_scale: float | None = None
    """The loss scale that DeepSpeed attempted last before this entry."""


@dataclass(kw_only=True, slots=True)
class EngineReport:
    """DeepSpeed's own `step=10, skipped=2, lr=[1e-05]`."""

    step: int
    skipped: int
    learning_rate: float | None = None


@dataclass(kw_only=True, slots=True)
class JobLog:
    """A whole log."""

    name: str
    format: str
    """"trainer_state", "jsonl" or "text"."""
    entries: list[LogEntry] = field(default_factory=list)
    """Of the last run in the file, in the order of its steps."""
    overflows: list[float | None] = field(default_factory=list)
    """Loss scales that DeepSpeed attempted at steps it skipped after the last entry (all, where there is none)."""
    engine: list[EngineReport] = field(default_factory=list)
    num_overflows: int = 0
    """Skipped steps that the log tells of, altogether."""
    num_eval_non_finite: int = 0
    """Evaluations whose loss is NaN or infinite."""
    error: TrialError | None = None
    """The first failure that is not the echo of another."""
    finished: bool = False
    """The log has the summary that the Trainer prints at the end."""
    global_step: int | None = None
    max_steps: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    """Library -> version, where the log prints it."""
    notes: list[str] = field(default_factory=list)
    """What was made of the file: several runs, several ranks, lines that were cut."""

    @property
    def numbered(self) -> bool:
        """Every entry says at which step it was."""
        return bool(self.entries) and all(entry.step is not None for entry in self.entries)

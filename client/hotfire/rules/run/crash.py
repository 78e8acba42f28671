"""R122 crash."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity, Trial, TrialError, TrialOutcome
from hotfire.rules.run.hang import WORKERS_FAULT, is_hang
from hotfire.rules.run.judged import end_is_told, is_before_the_job, judged_trial
from hotfire.rules.run.known_crashes import known_crash
from hotfire.rules.run.out_of_memory import is_out_of_memory

_MAX_TEXT = 300


def is_crash(trial: Trial) -> bool:
    """The trial died of an exception or a signal, other than for memory or for standing still."""
    died = trial.error is not None or trial.outcome is TrialOutcome.CRASHED
    return died and not is_out_of_memory(trial) and not is_hang(trial)


class Crash(Rule):
    """A rank dies: the first one, its exception, and its cause where that is known.

    Why:
        When one rank dies the others report lost connections, and their messages come later and louder. The
        earliest error that is not such a victim is the root.

    Example:
        `RuntimeError: element 0 of tensors does not require grad`: LoRA under reentrant checkpointing
        without input gradients.

    Fix:
        A patch where the cause is known: `enable_input_require_grads`, `use_reentrant`, an optimizer flag, a
        ZeRO stage.

    Source:
        huggingface/trl issues 2486, 2514; huggingface/transformers issues 41959, 47254; DeepSpeed issues
        1846, 4055.
    """

    id = "R122"
    name = "crash"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """One finding: the root cause."""
        trial = judged_trial(evidence)
        if not is_crash(trial):
            end_is_told(trial)
            return
        error = trial.error or TrialError(type="SilentExit", message="a rank ended without a word")
        known = known_crash(evidence, trial)
        what = f"{error.type}: {_one_line(error.message)}" if error.message else error.type
        where = _where(trial, error)
        if known is not None:
            message = f"The job crashes{where}: {known.cause}. {what}."
            fixes = known.fixes(evidence)
        else:
            message = f"The job crashes{where}: {what}."
            fixes = [Fix(description="Read the exception; its cause is not one that is known here.")]
        early = is_before_the_job(trial)
        yield Finding(
            message=f"{message} {WORKERS_FAULT}" if early else message,
            severity=Severity.WARNING if early else Severity.ERROR,
            location=Location(
                rank=error.rank,
                step=len(trial.steps) + 1 if trial.steps or error.phase in _STEP_PHASES else None,
                trial=trial.name,
                config_path=known.path if known else None,
            ),
            evidence={
                "type": error.type,
                "exit_code": error.exit_code,
                "signal": error.signal,
                "phase": error.phase,
                "known_cause": known.key if known else None,
                "log_tail": list(error.log_tail[-10:]),
            },
            fix=fixes[0],
            alternatives=fixes[1:],
        )


_STEP_PHASES = ("forward", "backward", "step", "steps")


def _where(trial: Trial, error: TrialError) -> str:
    parts: list[str] = []
    if trial.from_log:
        last = (
            f"after step {trial.steps[-1].step} of the log" if trial.steps else "before the first logged step"
        )
        return f" {last}" + (f" on rank {error.rank}" if error.rank is not None else "")
    step = len(trial.steps) + 1
    if error.phase in ("forward", "backward"):
        parts.append(f"in the {error.phase} pass of step {step}")
    elif error.phase in _STEP_PHASES or trial.steps:
        parts.append(f"at step {step}")
    elif error.phase:
        parts.append(f"in phase {error.phase}")
    if error.rank is not None:
        parts.append(f"on rank {error.rank}")
    return " " + " ".join(parts) if parts else ""


def _one_line(text: str) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= _MAX_TEXT else line[: _MAX_TEXT - 1] + "…"

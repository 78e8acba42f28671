"""R121 hang."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity, Trial, TrialOutcome
from hotfire.rules.remedy import set_value
from hotfire.rules.run.judged import end_is_told, is_before_the_job, judged_trial

WORKERS_FAULT = "Lowered to a warning: nothing of the job had run yet, so the fault is this worker's."


def is_hang(trial: Trial) -> bool:
    """The trial stood still until its time was over."""
    return trial.outcome is TrialOutcome.HUNG or (trial.error is not None and trial.error.type == "Hung")


class Hang(Rule):
    """The ranks stand still: one waits for a collective that another never enters.

    Why:
        On GPUs NCCL waits for half an hour and then kills the job without naming the cause.

    Example:
        A mixture of experts under ZeRO-3: an expert gets no token on one rank, whose ranks never gather its
        weights.

    Fix:
        By cause: `set_z3_leaf_modules` for experts; the same modules on every rank; no leftover extension
        lock (`stale-extension-lock`).

    Source:
        DeepSpeed pull requests 4966, 5008; QwenLM/Qwen3-VL issue 126; hiyouga/LlamaFactory issue 2424.
    """

    id = "R121"
    name = "hang"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Names the phase and the rank that was heard of last."""
        trial = judged_trial(evidence)
        if not is_hang(trial):
            end_is_told(trial)
            return
        error = trial.error
        phase = f" in {error.phase}" if error and error.phase else ""
        step = len(trial.steps) + 1
        lock = evidence.environment.extension_lock if evidence.environment else None
        why = ": a leftover lock in the torch extension directory makes them wait" if lock else ""
        fixes: list[Fix] = []
        if trial.stage == 3 and not lock:
            fixes.append(
                Fix(
                    description="ZeRO stage 2 gathers no weights, so ranks may run different modules.",
                    patch=[set_value(evidence, "/deepspeed/zero_optimization/stage", 2)],
                )
            )
        fixes.append(
            Fix(
                description="Remove the lock file."
                if lock
                else "Make every rank run the same modules in the same order; register experts with "
                "set_z3_leaf_modules."
            )
        )
        early = is_before_the_job(trial)
        where = "before the job's model is loaded" if early else f"at step {step}"
        told = error.message[:300].rstrip(".") if error and error.message else "No rank was heard of any more"
        lowered = f" {WORKERS_FAULT}" if early else ""
        what = "job" if trial.from_log else "trial"
        yield Finding(
            message=f"The {what} hangs{phase} {where}{why}. {told[:1].upper()}{told[1:]}.{lowered}",
            severity=Severity.WARNING if early else Severity.ERROR,
            location=Location(
                step=None if early else step, rank=error.rank if error else None, trial=trial.name
            ),
            evidence={
                "phase": error.phase if error else None,
                "num_steps_done": len(trial.steps),
                "log_tail": list(error.log_tail[-10:]) if error else [],
            },
            fix=fixes[0],
            alternatives=fixes[1:],
        )

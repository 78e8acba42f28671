"""R101 non-finite-loss."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, MicroBatch, Phase, Severity, Step, Trial
from hotfire.rules.remedy import bf16_instead, learning_rate
from hotfire.rules.run.judged import (
    is_finite,
    is_non_finite,
    judged_steps,
    micro_batches,
    non_finite_loss,
    norm,
    step_list,
)
from hotfire.rules.run.rates import lower_rate
from hotfire.rules.run.signature import Mechanism, because, mechanism_of_step
from hotfire.rules.wording import counted, listed, number


class NonFiniteLoss(Rule):
    """The loss is NaN or infinite.

    Why:
        Nothing is learnt from such a step, and where the step is applied the weights are destroyed. The HF
        Trainer hides it: with `logging_nan_inf_filter`, its default, it prints 0.0.

    Example:
        Step 1, rank 0, micro-batch 2: NaN, with 0 supervised tokens (the data is at fault); or NaN at step
        3, after two updates at a learning rate of 10.

    Fix:
        By mechanism: labels for the rows; bf16 instead of fp16 where activations overflow (no loss scale
        helps there); the model's weights loaded again where they hold NaN; a lower learning rate.

    Source:
        transformers 5.23 trainer.py, `logging_nan_inf_filter`; hiyouga/LlamaFactory issues 4850, 8088, 7388.
    """

    id = "R101"
    name = "non-finite-loss"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Finds the first step, rank, micro-batch and row, and names the mechanism."""
        trial, steps = judged_steps(evidence)
        bad = [step for step in steps if non_finite_loss(step)]
        if not bad:
            if trial.from_log and not all(is_finite(size := norm(s)) and size != 0 for s in steps):
                raise Skip("the Trainer leaves NaN out of the loss that it prints, so a log does not show it")
            return
        first = bad[0]
        rank, index, batch = _first_batch(first)
        mechanism = mechanism_of_step(trial, first) or Mechanism.NON_FINITE_FORWARD
        value = first.loss if is_non_finite(first.loss) else batch.loss if batch else first.logged_loss
        where = f"step {first.step}"
        if rank is not None:
            where += f", rank {rank}, micro-batch {index}"
        at_peak = first.phase is Phase.PEAK and len(steps) > len(bad)
        when = (
            " It was finite before, at the scheduled learning rates; this step runs at their peak."
            if at_peak
            else ""
        )
        detail = _detail(trial, mechanism)
        fix, alternatives = _fixes(evidence, trial, steps, first, mechanism)
        yield Finding(
            message=f"The loss is {number(value)} from {where}, {because(trial, mechanism)}. "
            f"{len(bad)} of {len(steps)} steps are affected.{detail}{when}",
            location=Location(
                step=first.step,
                rank=rank,
                micro_batch=index,
                row=batch.rows[0] if batch and batch.rows else None,
                module=trial.facts.get("first_non_finite_module"),
                parameter=_broken_parameters(trial)[0] if _broken_parameters(trial) else None,
                trial=trial.name,
            ),
            evidence={
                "mechanism": mechanism.value,
                "steps": step_list(bad),
                "num_steps": len(steps),
                "rows": batch.rows[:20] if batch else [],
                "num_supervised_tokens": batch.num_supervised_tokens
                if batch
                else first.num_supervised_tokens,
                "learning_rate": first.learning_rate,
                "non_finite_parameters": _broken_parameters(trial),
                "module": trial.facts.get("non_finite_module"),
            },
            fix=fix,
            alternatives=alternatives,
        )


def _first_batch(step: Step) -> tuple[int | None, int | None, MicroBatch | None]:
    for rank, index, batch in micro_batches(step):
        if is_non_finite(batch.loss):
            return rank, index, batch
    return None, None, None


def _broken_parameters(trial: Trial) -> list[str]:
    return list(trial.facts.get("non_finite_parameters_at_start") or [])


def _detail(trial: Trial, mechanism: Mechanism) -> str:
    """What the ranks found when they ran the forward pass again, module by module."""
    broken = _broken_parameters(trial)
    if broken:
        cast = " as loaded and cast to fp16" if trial.dtype == "fp16" else " as loaded"
        return f" {counted(len(broken), 'parameter')} of the model{cast}: {listed(broken, limit=3)}."
    if mechanism not in (Mechanism.FORWARD_OVERFLOW, Mechanism.NON_FINITE_FORWARD):
        return ""
    found = trial.facts.get("non_finite_module")
    if not isinstance(found, dict):
        again = trial.facts.get("forward_repeats_finite")
        return " Run again, the same forward pass is finite in every module." if again else ""
    where = (
        f"The output of {found['name']}"
        if found.get("where") == "output"
        else f"What goes into {found['name']} (after {found.get('after')})"
    )
    size = found.get("input_absmax")
    near = f"; the largest value just before it is {number(size)}" if isinstance(size, int | float) else ""
    return f" {where} is the first that is not finite, in {found.get('dtype')}{near}."


def _fixes(
    evidence: Evidence, trial: Trial, steps: list[Step], first: Step, mechanism: Mechanism
) -> tuple[Fix | None, list[Fix]]:
    if mechanism in (Mechanism.NO_SUPERVISED_TOKENS, Mechanism.MASKED_MICRO_BATCH):
        return Fix(
            description="Give the rows labels: no-supervised-tokens names them and why they have none."
        ), []
    if mechanism is Mechanism.NON_FINITE_WEIGHTS:
        again = Fix(
            description="Get the model's weights again (compare checksums), or find what wrote NaN into them: "
            "no ZeRO stage cures that."
        )
        # A weight beyond 65504 becomes infinite as it is cast.
        bf16 = bf16_instead(evidence) if trial.dtype == "fp16" else None
        return again, [bf16] if bf16 else []
    fixes: list[Fix] = []
    moved = any(
        (step.learning_rate or 0) > 0 and step.applied is not False
        for step in steps
        if step.step < first.step
    )
    if moved:
        fixes.append(learning_rate(evidence, lower_rate(trial, evidence)))
    if trial.dtype == "fp16" and (bf16 := bf16_instead(evidence)):
        fixes.insert(0, bf16)
    if mechanism is Mechanism.FORWARD_OVERFLOW:
        fixes.append(Fix(description="Train in fp32: the model's activations do not fit fp16."))
    elif not moved:
        fixes.append(
            Fix(
                description="Run with attn_implementation eager, and look for NaN in the weights of the "
                "model folder."
            )
        )
    return fixes[0], fixes[1:]

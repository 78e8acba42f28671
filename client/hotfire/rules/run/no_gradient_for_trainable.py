"""R106 no-gradient-for-trainable."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, ParameterGroup, Severity, Step, Trial
from hotfire.rules.remedy import input_gradients
from hotfire.rules.run.checkpointing import REENTRANT_WORDS, is_reentrant_without_input_gradients
from hotfire.rules.run.judged import applied, judged_steps, norm
from hotfire.rules.wording import listed, percent

_EXPERT = re.compile(r"(^|[._])experts?[._]", re.IGNORECASE)
_OTHER_MODALITY = re.compile(r"(vision|visual|image|audio|speech|video|pooler)", re.IGNORECASE)
#: The factor that is not the one initialised to 0: its gradient is 0 until the other has moved.
_LORA_FIRST = re.compile(r"lora_A|lora_embedding_B")


class NoGradientForTrainable(Rule):
    """Trainable parameters never get a gradient.

    Why:
        They are declared trainable and do not learn. The total gradient norm hides it: a trained head alone
        gives a normal norm and a falling loss, while every adapter stands still.

    Example:
        LoRA and a trained head under reentrant checkpointing without `enable_input_require_grads`: all 28
        adapter tensors silent, norm 0.7, loss falling.

    Fix:
        `enable_input_require_grads: true`, or `use_reentrant: false`; for an adapter on `lm_head` beside a
        fused loss, another loss or no adapter there.

    Source:
        huggingface/trl issue 2486; huggingface/transformers issues 35826, 42489; TRL commit 3318cf88e.
    """

    id = "R106"
    name = "no-gradient-for-trainable"
    severity = Severity.ERROR
    needs = ("trials",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Looks at every group, never at the total."""
        trial, steps = judged_steps(evidence)
        counting = applied(steps)
        if not trial.groups or not counting:
            raise Skip("the gradients were not looked at group by group")
        if _all_zero(counting) and not any(group.num_never_in_graph for group in trial.groups):
            raise Skip("every gradient is exactly 0; zero-gradient says so")
        silent = [
            group
            for group in trial.groups
            if _num_silent(group) and not _is_waiting_lora(group, trial, counting)
        ]
        experts = [group for group in silent if _only(group, _EXPERT)]
        other_modality = [group for group in silent if group not in experts and _only(group, _OTHER_MODALITY)]
        plain = [group for group in silent if group not in experts and group not in other_modality]
        if plain:
            yield _finding(evidence, trial, plain, Severity.ERROR, "")
        if other_modality:
            yield _finding(
                evidence,
                trial,
                other_modality,
                Severity.WARNING,
                " Lowered to a warning: they may belong to inputs that the sample does not have.",
            )
        if experts:
            yield _finding(
                evidence,
                trial,
                experts,
                Severity.INFO,
                " Lowered to info: experts without tokens get no gradient, and a few steps do not reach "
                "every expert.",
            )


def _finding(
    evidence: Evidence, trial: Trial, groups: list[ParameterGroup], severity: Severity, lowered: str
) -> Finding:
    total = sum(group.num_parameters or 0 for group in groups)
    count = sum(_num_silent(group) for group in groups)
    names = [name for group in groups for name in group.silent_parameters]
    detached = sum(group.num_never_in_graph or 0 for group in groups)
    why, fixes = _cause(evidence, names, detached, severity)
    each = ", ".join(f"{_num_silent(group)} of {group.num_parameters} in {group.name}" for group in groups)
    return Finding(
        message=f"{count} trainable parameters never get a gradient ({each}){why}. "
        + (f"First: {listed(names, limit=3)}." if names else f"{percent(count, total)} of these groups.")
        + lowered,
        severity=severity,
        location=Location(
            parameter=names[0] if names else None,
            trial=trial.name,
            config_path="/training/gradient_checkpointing"
            if fixes and fixes[0].patch and severity is Severity.ERROR
            else None,
        ),
        evidence={
            "groups": {
                group.name: {"silent": _num_silent(group), "parameters": group.num_parameters}
                for group in groups
            },
            "parameters": names[:20],
            "num_never_in_graph": detached,
        },
        fix=fixes[0] if fixes else None,
        alternatives=fixes[1:],
    )


def _cause(evidence: Evidence, names: list[str], detached: int, severity: Severity) -> tuple[str, list[Fix]]:
    """Why, for the message, and the fixes."""
    if severity is not Severity.ERROR:
        return "", []
    if names and all("lm_head" in name or "output_layer" in name for name in names):
        return ": the loss reads the head's weight directly and bypasses what is trained there", [
            Fix(description="Leave lm_head out of the adapters' targets, or use a loss that calls the head.")
        ]
    if detached and is_reentrant_without_input_gradients(evidence):
        return f": {REENTRANT_WORDS}", input_gradients(evidence)
    if detached:
        return ": no path leads from the loss to them", [
            Fix(description="Use them in forward, or freeze them.")
        ]
    return ": their gradient is exactly 0 at every step", [
        Fix(description="Find what cuts them off from the loss, or freeze them.")
    ]


def _num_silent(group: ParameterGroup) -> int:
    """Parameters silent in every step. Silence at the last step alone counts only for a whole group."""
    at_last = group.num_silent_parameters or 0
    if group.silent_parameters:
        # The names stop at 20; then the count of the last step is the better one.
        named = len(group.silent_parameters)
        return max(named, at_last) if named >= 20 else named
    if group.num_never_in_graph:
        return group.num_never_in_graph
    return at_last if at_last and at_last == group.num_parameters else 0


def _is_waiting_lora(group: ParameterGroup, trial: Trial, counting: list[Step]) -> bool:
    """lora_A has a zero gradient until lora_B, which starts at 0, has moved."""
    names = group.silent_parameters or [group.name]
    if not all(_LORA_FIRST.search(name) for name in names):
        return False
    moved = any((step.learning_rate or 0) > 0 for step in counting[:-1])
    if moved or group.num_never_in_graph:
        return False
    return any(
        (other.num_parameters or 0) > _num_silent(other) for other in trial.groups if other is not group
    ) or bool(group.num_parameters and group.num_parameters > len(names))


def _only(group: ParameterGroup, pattern: re.Pattern[str]) -> bool:
    names = group.silent_parameters or [group.name]
    return all(pattern.search(name) for name in names)


def _all_zero(steps: list[Step]) -> bool:
    return all(norm(step) == 0 for step in steps)

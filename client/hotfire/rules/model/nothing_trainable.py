"""M106 nothing-trainable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity
from hotfire.rules.model.lora_target_unmatched import peft_entries
from hotfire.rules.remedy import has, remove
from hotfire.rules.wording import counted, listed


class NothingTrainable(Rule):
    r"""No parameter is trainable, or not what `trainable` and `frozen` declare.

    Why:
        Without a trainable parameter the optimizer is empty, or the loss has no graph. With a pattern that
        matches nothing the job trains something else than was meant, and says nothing.

    Example:
        `trainable: ["transformer\.h\.11"]` on a Llama, whose blocks are called `model.layers`; or
        `prepare_model_for_kbit_training` after `get_peft_model`, which freezes the adapters again.

    Fix:
        Patterns over this model's own parameter names.

    Source:
        huggingface/trl commit 7e2075347; huggingface/accelerate issue 1522; TrainCheck pytorch-forum-84911.
    """

    id = "M106"
    name = "nothing-trainable"
    severity = Severity.ERROR
    needs = ("model",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Counts what is trainable after the job's own freezing, then the patterns without a match."""
        model = evidence.model
        assert model is not None
        training = evidence.training or {}
        peft = training.get("peft")
        entries = peft_entries(peft) if isinstance(peft, dict) else []
        # PEFT's own targets are lora-target-unmatched's.
        unmatched = [pattern for pattern in model.unmatched_patterns if pattern not in entries]
        if not unmatched and (
            entries and len(model.unmatched_patterns) > len(unmatched) and not model.num_trainable
        ):
            return
        if model.peft_error is not None and not entries:
            yield Finding(
                message=f"What the job trains cannot be chosen: {model.peft_error.rstrip('.')}.",
                location=Location(config_path="/training"),
                fix=Fix(description="Correct the pattern: it is a regular expression over parameter names."),
            )
            return
        if model.num_trainable is None and not unmatched:
            raise Skip("what is trainable was not looked at")
        numbers = {
            "num_parameters": model.num_parameters,
            "num_trainable": model.num_trainable,
            "num_trainable_tensors": model.num_trainable_tensors,
            "unmatched_patterns": unmatched,
        }
        declared = [key for key in ("trainable", "frozen", "peft") if training.get(key)]
        path = f"/training/{declared[0]}" if declared else "/training"
        if model.num_trainable == 0:
            yield _nothing_finding(evidence, declared, unmatched, path, numbers)
        elif unmatched:
            yield Finding(
                message=f"{counted(len(unmatched), 'pattern matches', 'patterns match')} nothing in this "
                f"model: {listed(repr(pattern) for pattern in unmatched)}. The job trains something else "
                "than declared.",
                location=Location(config_path=path),
                evidence=numbers,
                fix=Fix(description="Write the names as this model has them, or leave them out."),
            )


def _nothing_finding(
    evidence: Evidence, declared: list[str], unmatched: list[str], path: str, numbers: dict[str, Any]
) -> Finding:
    why = (
        f": {listed(repr(pattern) for pattern in unmatched)} match nothing in this model"
        if unmatched
        else f": {' and '.join(declared)} leave nothing to train"
        if declared
        else ""
    )
    fix = Fix(description="Name parameters that this model has.")
    if "frozen" in declared and has(evidence, "/training/frozen"):
        fix = Fix(description="Freeze nothing.", patch=[remove("/training/frozen")])
    elif unmatched and "trainable" in declared and has(evidence, "/training/trainable"):
        fix = Fix(description="Train everything.", patch=[remove("/training/trainable")])
    return Finding(
        message=f"No parameter is trainable{why}.",
        location=Location(config_path=path),
        evidence=numbers,
        fix=fix,
    )

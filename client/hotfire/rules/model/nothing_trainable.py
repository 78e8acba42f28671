"""M106 nothing-trainable."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity
from hotfire.rules.remedy import has, remove
from hotfire.rules.wording import counted, listed


class NothingTrainable(Rule):
    r"""No parameter is trainable, or not what `trainable`, `frozen` and `peft` declare.

    Why:
        Without a trainable parameter the optimizer is empty, or the loss has no graph. With a pattern that
        matches nothing the job trains something else than was meant, and says nothing.

    Example:
        `trainable: ["transformer\.h\.11"]` on a Llama, whose blocks are called `model.layers`; or
        `prepare_model_for_kbit_training` after `get_peft_model`, which freezes the adapters again.

    Fix:
        Patterns over this model's own parameter names; PEFT targets that exist in it.

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
        if model.num_trainable is None and not model.unmatched_patterns:
            raise Skip("what is trainable was not looked at")
        training = evidence.training or {}
        numbers = {
            "num_parameters": model.num_parameters,
            "num_trainable": model.num_trainable,
            "num_trainable_tensors": model.num_trainable_tensors,
            "unmatched_patterns": list(model.unmatched_patterns),
        }
        declared = [key for key in ("peft", "trainable", "frozen") if training.get(key)]
        path = f"/training/{declared[0]}" if declared else "/training"
        if model.num_trainable == 0 or (model.num_trainable is None and model.unmatched_patterns):
            # None: PEFT refused the targets as a whole, so that nothing could be counted.
            why = (
                f": {listed(repr(pattern) for pattern in model.unmatched_patterns)} match nothing in this "
                "model"
                if model.unmatched_patterns
                else f": {' and '.join(declared)} leave nothing to train"
                if declared
                else ""
            )
            fix = Fix(description="Name parameters that this model has.")
            if "frozen" in declared and has(evidence, "/training/frozen"):
                fix = Fix(description="Freeze nothing.", patch=[remove("/training/frozen")])
            yield Finding(
                message=f"No parameter is trainable{why}.",
                location=Location(config_path=path),
                evidence=numbers,
                fix=fix,
            )
        elif model.unmatched_patterns:
            targets = _peft_targets(training)
            only_targets = all(pattern in targets for pattern in model.unmatched_patterns)
            what = "PEFT target" if only_targets else "pattern"
            lowered = (
                " Lowered to a warning: the other targets match, and PEFT ignores these."
                if only_targets
                else " The job trains something else than declared."
            )
            yield Finding(
                message=f"{counted(len(model.unmatched_patterns), what + ' matches', what + 's match')} "
                "nothing in this model: "
                f"{listed(repr(pattern) for pattern in model.unmatched_patterns)}.{lowered}",
                severity=Severity.WARNING if only_targets else Severity.ERROR,
                location=Location(config_path="/training/peft" if only_targets else path),
                evidence=numbers,
                fix=Fix(description="Write the names as this model has them, or leave them out."),
            )


def _peft_targets(training: dict[str, object]) -> list[str]:
    peft = training.get("peft")
    if not isinstance(peft, dict):
        return []
    targets: list[str] = []
    for key in ("target_modules", "modules_to_save", "target_parameters"):
        value = peft.get(key)
        targets += [value] if isinstance(value, str) else list(value or [])
    return targets

"""M109 unsafe-model."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity


class UnsafeModel(Rule):
    """The model needs remote code or pickle weights, which this worker does not run.

    Why:
        Both execute code from the model folder. The operator of the worker has not allowed it, so the model
        was not loaded: this says nothing about the job, and the preflight is inconclusive.

    Example:
        A folder with `modeling_custom.py` and `auto_map`, or with `pytorch_model.bin` only.

    Fix:
        Weights as safetensors; an architecture that transformers has itself; or a worker on which the
        operator allows it.

    Source:
        The design, "Rules of the house".
    """

    id = "M109"
    name = "unsafe-model"
    severity = Severity.WARNING
    needs = ("model",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Reports what policy here refused."""
        model = evidence.model
        assert model is not None
        if model.blocked is None:
            return
        if model.blocked == "pickle-weights":
            what, cure = "the weights are pickle files", "Convert the weights to safetensors."
        else:
            what = "the model needs its own code (trust_remote_code)"
            cure = (
                "Use the architecture of transformers itself, or ask the operator to allow remote code "
                "on this worker."
            )
        detail = f": {model.blocked_detail.rstrip('.')}" if model.blocked_detail else ""
        yield Finding(
            message=f"The model was not loaded, because {what} and this worker does not allow it{detail}.",
            location=Location(config_path="/model"),
            evidence={"blocked": model.blocked},
            fix=Fix(description=cure),
        )

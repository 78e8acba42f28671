"""M110 unreadable-model."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity


class UnreadableModel(Rule):
    """The model folder is missing, half-downloaded, or not what its config.json says.

    Why:
        The job stops when it loads the model, on every GPU it has reserved.

    Example:
        `model-00002-of-00004.safetensors` is named by the index and is not there; a weight of shape (32000,
        4096) where config.json says a vocabulary of 32064; a Git LFS pointer instead of weights.

    Fix:
        The message names the file and the remedy. To look at data and config without weights: `init: random`.

    Source:
        transformers' own loading errors.
    """

    id = "M110"
    name = "unreadable-model"
    severity = Severity.ERROR
    needs = ("model",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Reports why the folder could not be used."""
        model = evidence.model
        assert model is not None
        if model.readable or model.blocked is not None:
            return
        yield Finding(
            message=f"The model cannot be loaded: {(model.read_error or 'no reason was given').rstrip('.')}.",
            location=Location(config_path="/model"),
            evidence={"model_type": model.model_type, "weights_format": model.weights_format},
            fix=Fix(
                description="Complete the model folder; or check data and config alone with init: random."
            ),
        )

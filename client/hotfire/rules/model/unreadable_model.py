"""M110 unreadable-model."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, ModelFacts, Severity


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
        if model.blocked is not None:
            return
        if model.readable:
            if model.tokenizer_doubts:
                yield _tokenizer_finding(model)
            return
        yield Finding(
            message=f"The model cannot be loaded: {(model.read_error or 'no reason was given').rstrip('.')}.",
            location=Location(config_path="/model"),
            evidence={"model_type": model.model_type, "weights_format": model.weights_format},
            fix=Fix(
                description="Complete the model folder; or check data and config alone with init: random."
            ),
        )


def _tokenizer_finding(model: ModelFacts) -> Finding:
    """The folder loads, and its tokenizer seems to be another model's."""
    outside = model.tokenizer_length is not None and any(
        "tokens" in doubt for doubt in model.tokenizer_doubts
    )
    is_error = bool(model.pretrained) and outside
    return Finding(
        message=f"The tokenizer does not seem to be of this model: {'; '.join(model.tokenizer_doubts)}. "
        f"The tokenizer has {model.tokenizer_length} tokens, the embedding {model.vocab_size} rows."
        f"{'' if is_error else ' Lowered to a warning: config.json may be at fault.'}",
        severity=Severity.ERROR if is_error else Severity.WARNING,
        location=Location(config_path="/model"),
        evidence={
            "tokenizer_length": model.tokenizer_length,
            "embedding_rows": model.vocab_size,
            "special_token_ids": dict(model.special_token_ids),
        },
        fix=Fix(description="Copy the tokenizer's files of this very model into the folder."),
    )

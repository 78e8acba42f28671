"""M101 vocabulary-mismatch."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity


class VocabularyMismatch(Rule):
    """The tokenizer has ids that the model's embedding does not have.

    Why:
        A token id beyond the embedding is a device-side assert on a GPU and an IndexError on a CPU. A pad or
        end token out of range fails at the first batch; an added token fails when a row uses it.

    Example:
        `tokenizer.add_special_tokens({"pad_token": "<pad>"})` on Llama-2: 32001 tokens, 32000 embedding rows.

    Fix:
        `model.resize_token_embeddings(len(tokenizer))` and train the new rows, or use a token that exists as
        pad token.

    Source:
        huggingface/transformers issues 24698, 28104, 11008; AkariAsai/self-rag issue 91.
    """

    id = "M101"
    name = "vocabulary-mismatch"
    severity = Severity.ERROR
    needs = ("model",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Compares the tokenizer's length and special ids with the rows of the embedding."""
        model = evidence.model
        assert model is not None
        size = model.vocab_size
        if size is None:
            raise Skip("how many rows the embedding has is not known")
        length = model.tokenizer_length
        if length is None and not model.special_token_ids:
            raise Skip("the tokenizer was not looked at")
        outside = {
            name: token
            for name, token in model.special_token_ids.items()
            if token is not None and not 0 <= token < size
        }
        numbers = {
            "tokenizer_length": length,
            "embedding_rows": size,
            "special_tokens_out_of_range": outside,
        }
        fix = Fix(
            description="Call model.resize_token_embeddings(len(tokenizer)) and train the new rows, or use "
            "the tokenizer "
            "that belongs to this model."
        )
        if outside:
            names = ", ".join(f"{name} = {token}" for name, token in outside.items())
            yield Finding(
                message=f"Special tokens are outside the model's embedding: {names}, while it has rows 0 "
                f"to {size - 1}. "
                f"The tokenizer has {length} tokens.",
                location=Location(module="embed_tokens", config_path="/model"),
                evidence=numbers,
                fix=fix,
            )
        elif length is not None and length > size:
            used = _uses_new_tokens(evidence, size)
            lowered = " Lowered to a warning: no row of the sample uses one of them." if used is False else ""
            yield Finding(
                message=f"The tokenizer has {length} tokens and the model's embedding only {size} rows. "
                f"Ids {size} to {length - 1} cannot be looked up.{lowered}",
                severity=Severity.WARNING if used is False else Severity.ERROR,
                location=Location(module="embed_tokens", config_path="/model"),
                evidence=numbers,
                fix=fix,
            )


def _uses_new_tokens(evidence: Evidence, size: int) -> bool | None:
    """Whether a row of the sample has an id beyond the embedding; None where no row was looked at."""
    rows = evidence.data.rows if evidence.data else []
    largest = [row.max_token_id for row in rows if row.max_token_id is not None]
    return max(largest) >= size if largest else None

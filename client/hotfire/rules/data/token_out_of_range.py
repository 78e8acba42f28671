"""D105 token-out-of-range."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.data.sides import both_sides
from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity
from hotfire.rules.wording import counted, listed


class TokenOutOfRange(Rule):
    """A row has a token id that the model's embedding does not have.

    Why:
        Looking up such an id is a device-side assert on a GPU ("srcIndex < srcSelectDimSize"), reported far
        from its cause, and an IndexError on a CPU. The job dies at the first batch that holds the row.

    Example:
        Tokens were added to the tokenizer and `resize_token_embeddings` was not called: id 32000 with 32000
        rows.

    Fix:
        Resize the embedding and train the new rows, or use the tokenizer that belongs to the model.

    Source:
        huggingface/transformers issues 24698, 28104, 1848; shibing624/MedicalGPT issue 275.
    """

    id = "D105"
    name = "token-out-of-range"
    severity = Severity.ERROR
    needs = ("data", "model")

    @both_sides
    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Compares the largest and smallest id of every row with the rows of the embedding."""
        data, model = evidence.data, evidence.model
        assert data is not None
        assert model is not None
        if not data.rows:
            raise Skip("no row could be tokenised")
        size = model.vocab_size
        if size is None:
            raise Skip("how many rows the embedding has is not known")
        bad = [
            row
            for row in data.rows
            if (row.max_token_id is not None and row.max_token_id >= size)
            or (row.min_token_id is not None and row.min_token_id < 0)
        ]
        if not bad:
            return
        worst = max((row.max_token_id for row in bad if row.max_token_id is not None), default=None)
        lowest = min((row.min_token_id for row in bad if row.min_token_id is not None), default=None)
        which = f"{worst}" if worst is not None and worst >= size else f"{lowest}"
        yield Finding(
            message=f"{counted(len(bad), 'row has', 'rows have')} token ids outside the model's embedding: "
            f"id {which}, "
            f"while the embedding has rows 0 to {size - 1}. {'Row' if len(bad) == 1 else 'Rows'} "
            f"{listed(row.row for row in bad)}; the "
            "tokenizer "
            f"has {data.tokenizer_length if data.tokenizer_length is not None else 'an unknown number of'} "
            "tokens.",
            location=Location(row=bad[0].row),
            evidence={
                "rows": [row.row for row in bad[:20]],
                "max_token_id": worst,
                "min_token_id": lowest,
                "embedding_rows": size,
                "tokenizer_length": data.tokenizer_length,
            },
            fix=Fix(
                description="Call model.resize_token_embeddings(len(tokenizer)) and train the new rows, or "
                "use the "
                "tokenizer that belongs to this model."
            ),
        )

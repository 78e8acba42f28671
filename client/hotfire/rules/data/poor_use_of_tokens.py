"""D118 poor-use-of-tokens."""

from __future__ import annotations

from collections.abc import Iterable

from hotfire.rules.engine import Rule, Skip
from hotfire.rules.evidence import Evidence, Finding, Fix, Location, Severity
from hotfire.rules.wording import percent

_PADDING = 0.4
_SUPERVISED = 0.05
_MIN_ROWS = 8
"""Fewer rows say nothing of the data."""


class PoorUseOfTokens(Rule):
    """Much of what is computed is padding, or has no label.

    Why:
        Padding costs as much as text. With rows of very different lengths in one micro-batch most of the
        GPU's work may be thrown away; packing, or batches of equal lengths, gets it back.

    Example:
        Micro-batches of 8 rows of 50 to 2,000 tokens: 70 % padding.

    Fix:
        `group_by_length: true`, or packing with an attention backend that keeps the rows apart.

    Source:
        Krell et al., Efficient Sequence Packing without Cross-contamination (2021); TRL `packing`.
    """

    id = "D118"
    name = "poor-use-of-tokens"
    severity = Severity.INFO
    needs = ("data",)

    def examine(self, evidence: Evidence) -> Iterable[Finding]:
        """Cuts the rows into micro-batches in their order, and counts."""
        data = evidence.data
        assert data is not None
        if len(data.rows) < _MIN_ROWS:
            raise Skip(f"fewer than {_MIN_ROWS} rows could be tokenised")
        lengths = [row.num_tokens for row in data.rows]
        size = data.micro_batch_size or 1
        batches = [lengths[i : i + size] for i in range(0, len(lengths), size)]
        computed = sum(max(batch) * len(batch) for batch in batches)
        tokens = sum(lengths)
        padding = 1 - tokens / computed if computed else 0.0
        supervised = sum(row.num_supervised for row in data.rows)
        numbers = {
            "num_tokens": tokens,
            "num_tokens_computed": computed,
            "padding_share": round(padding, 4),
            "supervised_share": round(supervised / tokens, 4) if tokens else None,
            "micro_batch_size": size,
            "num_rows": len(lengths),
        }
        training = evidence.training or {}
        if padding >= _PADDING and not training.get("packing"):
            yield Finding(
                message=f"{percent(padding, 1)} of what micro-batches of {size} rows compute is padding: "
                f"packed or sorted by length, the same rows would take {percent(tokens, computed)} of the "
                "time.",
                location=Location(config_path="/training/per_device_train_batch_size"),
                evidence=numbers,
                fix=Fix(description="Set group_by_length, or pack rows (with flash attention)."),
            )
        if 0 < supervised < _SUPERVISED * tokens:
            yield Finding(
                message=f"{percent(supervised, tokens)} of the tokens have a label ({supervised} of {tokens}): "
                "most of the computation only reads the prompt.",
                location=Location(config_path="/data"),
                evidence=numbers,
            )
